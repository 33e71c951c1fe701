"""The gated network: the states of torch's own, and their gradients."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pyro_nld.guide import gated
from pyro_nld.guide.gated import gated_states

ROWS, TIMES, FEATURES = 4, 11, 3


def network(both: bool, dtype=torch.float64) -> nn.GRU:
    return nn.GRU(FEATURES, 5, batch_first=True, bidirectional=both, dtype=dtype)


def batch(lengths=(TIMES,) * ROWS, dtype=torch.float64):
    x = torch.randn(ROWS, TIMES, FEATURES, dtype=dtype, requires_grad=True)
    return x, torch.arange(TIMES) < torch.tensor(lengths).unsqueeze(-1)


def torchs_own(network, x, valid):
    packed = pack_padded_sequence(x, valid.sum(-1), batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(network(packed)[0], batch_first=True, total_length=TIMES)[0]


def gradients(states, network, x):
    weight = torch.randn(states.shape, dtype=states.dtype, generator=torch.Generator().manual_seed(1))
    return torch.autograd.grad((weight * states).sum(), [x, *network.parameters()])


@pytest.mark.parametrize("both", [False, True], ids=["forwards", "both"])
@pytest.mark.parametrize("lengths", [(TIMES,) * ROWS, (TIMES, 4, 1, 7)], ids=["whole", "ragged"])
@pytest.mark.parametrize("numbers", [1, 50, 2**16])
def test_states_and_gradients_are_those_of_torch(monkeypatch, both, lengths, numbers):
    monkeypatch.setattr(gated, "NUMBERS", numbers)
    own, (x, valid) = network(both), batch(lengths)
    states, expected = gated_states(own, x, valid), torchs_own(own, x, valid)
    torch.testing.assert_close(states, expected)
    for one, other in zip(gradients(states, own, x), gradients(expected, own, x), strict=True):
        torch.testing.assert_close(one, other)


def test_a_network_that_begins_with_padding_is_another_one():
    own, (x, valid) = network(True), batch((TIMES, 4, 1, 7))
    wrong = own(x)[0]
    assert not torch.allclose(wrong[1, :4], gated_states(own, x, valid)[1, :4])
    assert torch.allclose(wrong[0], gated_states(own, x, valid)[0])


def test_gradients_are_those_of_differences():
    own, (x, valid) = network(True), batch((TIMES, 4, 1, 7))
    names, weights = zip(*own.named_parameters(), strict=True)

    def states(x, *weights):
        for name, weight in zip(names, weights, strict=True):
            own._parameters[name] = weight
        return gated_states(own, x, valid)

    assert torch.autograd.gradcheck(states, (x, *weights))


def test_single_precision_is_as_good_as_that_of_torch():
    own, (x, valid) = network(True, torch.float32), batch(dtype=torch.float32)
    torch.testing.assert_close(gated_states(own, x, valid), own(x)[0])


def test_without_gradients_no_graph_is_kept():
    own, (x, valid) = network(False), batch()
    with torch.no_grad():
        assert not gated_states(own, x, valid).requires_grad
