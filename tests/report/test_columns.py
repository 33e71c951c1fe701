"""Columns of tables: digits, dashes, units and alignment."""

import numpy as np
import pytest

from pyro_nld.report.columns import aligned, apart, digits, listed, titled


@pytest.mark.parametrize(
    ("value", "printed"), [(1234.5, "1.23e+03"), (0.5, "0.500"), (120.0, "120"), (np.nan, "–"), (np.inf, "–")]
)
def test_a_number_has_three_digits_or_is_a_dash(value, printed):
    assert digits(value) == printed


def test_levels_that_are_close_have_more_digits():
    assert apart(np.array([1.2003, 1.2005, np.nan])) == ["1.20030", "1.20050", "–"]


def test_cells_end_in_line_and_titles_have_units():
    assert aligned({"state": ["0", "10"], titled("dwell", "ms"): ["1.5", "20.5"]}).splitlines() == [
        "state  dwell (ms)",
        "    0         1.5",
        "   10        20.5",
    ]
    assert titled("dwell", "") == "dwell"
    assert listed({"step": "fine", "labels": "right"}) == "step    fine\nlabels  right"
