"""Figures of single runs: the numbers are those of the runs, the claims those of the figure, for every pair."""

import dataclasses

import pytest

from landscope.law.exponents import Exponents
from landscope.law.intervals import mean_with_interval
from landscope.progress import QuietReporter
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.figures import FIGURES, OF_SINGLE_RUNS
from landscope.reproduction.figures.single_runs import run_name
from landscope.reproduction.reproduce import reproduce
from landscope.reproduction.seed_summary import LAW_ROWS

PAIRS = ((100, 0.2), (50, 0.2))


@pytest.mark.slow
def test_fig2_has_the_numbers_of_its_runs(plan):
    plan = dataclasses.replace(plan, pairs=PAIRS)
    results = reproduce(plan, [FIGURES["fig2"]], QuietReporter())
    main, other = results.sections
    assert [row[:4] for row in main.rows] == [
        [f"{b}", f"{alpha}", "2", name] for b, alpha in PAIRS for name in LAW_ROWS
    ]
    for place, name in ((5, "exponents-in-sample"), (6, "exponents-fresh"), (9, "exponents-shuffled-0")):
        runs = [ExperimentRun.open(plan.run_path(run_name(PAIRS[1], seed))) for seed in (0, 1)]
        psi = [run.load(name, Exponents).psi for run in runs]
        assert main.rows[place][4] == mean_with_interval(psi)
    assert [judgement.claim.key for judgement in main.judgements] == list(FIGURES["fig2"].claims)
    assert len(other.rows) == len(FIGURES["fig2"].claims)
    assert "B = 50" in other.title
    page = (plan.folder / "report.html").read_text()
    assert all(plot.heading in page for plot in main.plots)


def test_without_pairs_the_settings_give_the_standard_one(plan):
    assert FIGURES["fig2"].pairs(plan) == [(100, 0.2), (100, 0.1), (50, 0.2)]
    assert FIGURES["fig1"].pairs(plan) == [(100, 0.2)]


@pytest.mark.slow
def test_every_figure_of_single_runs(plan):
    results = reproduce(dataclasses.replace(plan, pairs=PAIRS[:1]), OF_SINGLE_RUNS, QuietReporter())
    sections = {section.key: section for section in results.sections}
    for figure in OF_SINGLE_RUNS:
        section = sections[figure.key]
        assert {judgement.claim.key for judgement in section.judgements} == set(figure.claims)
        assert any(plot.draw() is not None for plot in section.plots)
    (numbers,) = sections["fig3"].values.values()
    assert set(numbers["values"]) == {key for figure in OF_SINGLE_RUNS for key in figure.claims}
    assert len(sections["fig3"].rows) > len(sections["fig1"].rows) == 5
    assert set(results.seconds) == {figure.title for figure in OF_SINGLE_RUNS}
