"""The table of a card, on the processor in its place: it says what it compared, and refuses what differs."""

import gpu
import pytest
import torch

import pyro_nld as nld


def test_without_a_card_it_says_so(capsys):
    gpu.main(device="cuda:99")
    assert capsys.readouterr().out.startswith("Nothing was measured: the device must be one of this machine: got")


def test_every_model_is_compared_and_timed(capsys):
    gpu.main(batch=3, length=5, repeats=1, warm=1, device="cpu")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[-3:]] == [f"| {name}" for name in gpu.MODELS]
    assert {line.split(" | ")[-1] for line in lines[-3:]} == {"0e+00 |"}


def test_what_differs_is_refused(monkeypatch):
    """A potential that is another one the second time it is moved, as on a card with a fault."""

    class Faulty(nld.NeuralPotential):
        def _apply(self, *given, **options):
            super()._apply(*given, **options)
            with torch.no_grad():
                self.output.weight.mul_(1.001)
            return self

    monkeypatch.setattr(gpu, "default", None)
    monkeypatch.setattr(nld, "NeuralPotential", Faulty)
    from gradient_step import default

    monkeypatch.setattr(gpu, "MODELS", {"faulty": lambda: default(1)})
    with pytest.raises(SystemExit, match="faulty: processor and card differ by"):
        gpu.main(batch=3, length=5, repeats=1, warm=1, device="cpu")
