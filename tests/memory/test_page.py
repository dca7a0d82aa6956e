import dataclasses
import math
import re

import pytest
import torch

from landscope.errors import InputError
from landscope.memory import Interpolation, TaskMatrix
from landscope.memory.report.figures import (
    interpolation_curve,
    old_against_new,
    values_after_tasks,
    values_over_tasks,
)
from landscope.memory.report.page import write_report


def matrix(values, *, tasks=("a", "b"), higher_is_better=True):
    rows = len(values)
    return TaskMatrix(
        tasks=tasks, values=torch.tensor(values, dtype=torch.float64), higher_is_better=higher_is_better,
        seconds=torch.arange(1.0, rows + 1).double(), n_stored=torch.arange(rows) * 1000, dim=500,
    )  # fmt: skip


def line(names=("a", "b"), *, higher_is_better=True):
    values = torch.tensor([[0.9, 0.1], [0.85, 0.7], [0.5, 0.8]], dtype=torch.float64)
    share = torch.tensor([0.0, 0.5, 1.0]).double()
    return Interpolation(names=names, share=share, values=values, higher_is_better=higher_is_better)


KEPT, NOTHING = matrix([[0.9, 0.1], [0.8, 0.75]]), matrix([[0.9, 0.1], [0.5, 0.8]])


def cells(page):
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rows]


def test_the_page_holds_the_numbers(tmp_path):
    path = write_report(tmp_path / "report.html", {"kept": KEPT, "nothing": NOTHING}, line(), title="Mine")
    page = path.read_text()
    rows = cells(page)
    assert "<h1>Mine</h1>" in page
    assert ["kept", "0.775", "0.8", "0.75", "0.1", "-0.1", "2", "3.0"] in rows
    assert ["straight line, a = 0.5", "0.775", "0.85", "0.7", "–", "–", "1", "–"] in rows
    assert ["b", "0.5", "0.8", "1,000", "2.0"] in rows
    for name in ("matrix-0", "matrix-1", "curve-0", "old-against-new", "interpolation"):
        assert f'id="{name}"' in page


def test_one_result_without_a_line(tmp_path):
    page = write_report(tmp_path / "r.html", KEPT).read_text()
    assert 'id="matrix-0"' in page
    assert 'id="interpolation"' not in page


def test_a_value_that_is_not_known_is_said(tmp_path):
    page = write_report(tmp_path / "r.html", matrix([[math.nan, 0.1]])).read_text()
    assert ["a", "–", "0.1", "0", "1.0"] in cells(page)


def test_the_frontier_marks_the_points_that_no_other_beats():
    figure = old_against_new({"kept": KEPT, "nothing": NOTHING}, line())
    kept, nothing, between = figure.data
    assert (kept.x[0], kept.y[0]) == (0.8, 0.75)
    assert list(kept.marker.size) == [11]
    assert list(nothing.marker.size) == [11]
    assert list(between.marker.size) == [11, 11, 11]
    worse = old_against_new({"kept": KEPT, "worse": matrix([[0.9, 0.1], [0.7, 0.7]])})
    assert [list(trace.marker.size) for trace in worse.data] == [[11], [6]]
    losses = [matrix(values, higher_is_better=False) for values in ([[0.1, 1.0], [0.2, 0.1]], [[0.1, 1.0], [0.3, 0.2]])]
    lower = old_against_new(dict(zip("ab", losses, strict=True)))
    assert [list(trace.marker.size) for trace in lower.data] == [[11], [6]]


def test_curves_begin_where_a_task_is_learnt():
    first, second = values_over_tasks(KEPT).data
    assert (list(first.x), list(first.y)) == (["a", "b"], [0.9, 0.8])
    assert (list(second.x), list(second.y)) == (["b"], [0.75])
    assert [trace.name for trace in interpolation_curve(line()).data] == ["a", "b", "mean"]


@pytest.mark.parametrize(
    ("matrices", "between", "message"),
    [
        ({}, None, "no result"),
        ({"a": KEPT, "b": matrix([[0.1, 0.2]], tasks=("a", "c"))}, None, "2 kinds"),
        (KEPT, line(("b", "a")), "the evaluations a, b"),
        (KEPT, line(higher_is_better=False), "higher_is_better=True"),
    ],
)
def test_what_does_not_fit_on_one_page_is_refused(tmp_path, matrices, between, message):
    with pytest.raises(InputError, match=message):
        write_report(tmp_path / "r.html", matrices, between)
    assert not list(tmp_path.iterdir())


def test_the_page_begins_with_what_changed(tmp_path):
    page = write_report(tmp_path / "a.html", matrix([[0.2, 3.0], [0.4, 0.5]], higher_is_better=False)).read_text()
    assert "<p>The loss on a went from 0.2 to 0.4, that on b from 3 to 0.5.</p>" in page
    unknown = write_report(tmp_path / "b.html", matrix([[math.nan, 0.1], [0.8, 0.75]])).read_text()
    assert "<p>The value on b went from 0.1 to 0.75.</p>" in unknown
    assert "went from" not in write_report(tmp_path / "c.html", matrix([[0.9, 0.1]])).read_text()


def test_a_line_whose_best_point_is_the_model_says_so(tmp_path):
    values = torch.tensor([[0.9, 0.1], [0.8, 0.75]], dtype=torch.float64)
    best_at_end = dataclasses.replace(line(), share=torch.tensor([0.0, 1.0]).double(), values=values)
    page = write_report(tmp_path / "r.html", KEPT, best_at_end).read_text()
    assert "the model itself, so no mixture is better" in page
    assert "should do better" not in page


def test_losses_are_coloured_by_their_logarithm():
    losses = values_after_tasks(matrix([[0.01, 10.0], [0.1, 1.0]], higher_is_better=False)).data[0]
    assert losses.z.tolist() == [[-2.0, 1.0], [-1.0, 0.0]]
    assert losses.text[0][0] == "0.01"
    assert values_after_tasks(KEPT).data[0].z.tolist() == [[0.9, 0.1], [0.8, 0.75]]
    with_zero = values_after_tasks(matrix([[0.0, 10.0]], higher_is_better=False)).data[0]
    assert with_zero.z.tolist() == [[0.0, 10.0]]
