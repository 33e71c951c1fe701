"""Annotations are executed in tests, and not in every call."""

import jaxtyping
import pytest
from sparing import EVERY

from pyro_nld.kinetics.words import listed


def refused() -> bool:
    """Whether a list of numbers, which is none of words, is noticed."""
    try:
        return listed([1]) != 1
    except jaxtyping.TypeCheckError:
        return True


@pytest.mark.parametrize("again", [False, True])
def test_a_wrong_type_is_noticed_in_the_first_call_of_each_test_and_now_and_then(again):
    noticed = [refused() for _ in range(2 * EVERY)]
    assert noticed == [call % EVERY == 0 for call in range(2 * EVERY)]


def test_none_is_where_annotations_are_switched_off(untyped):
    assert not refused()
