"""The table of exponents is a mapping of names to rows."""

import pytest
import torch

import landscope as ls
from known import flatness_of, statistics_of
from landscope.study.exponents import ExponentTable


def row(name):
    variance = torch.logspace(0, -5, 20).double()
    return ls.law.fit_exponents(name, statistics_of(variance), flatness_of(variance**-0.25), (1, 20))


def test_rows_are_found_by_name_as_in_a_mapping():
    rows = tuple(map(row, ("in-sample", "fresh", "null", "null")))
    law = ExponentTable(rows)
    assert "in-sample" in law
    assert "in_sample" not in law
    assert list(law) == ["in-sample", "fresh", "null"]
    assert len(law) == 3
    assert dict(law)["null"] is law["null"] is rows[2]
    assert law.get("other") is None
    with pytest.raises(KeyError, match="no row 'in_sample'; the rows are in-sample, fresh, null"):
        _ = law["in_sample"]
