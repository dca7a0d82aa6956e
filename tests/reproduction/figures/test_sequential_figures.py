"""Every figure on tasks in sequence at tiny sizes: its jobs, its sections, and nothing done twice."""

import dataclasses
import math

import pytest
import torch

from landscope.errors import StorageError
from landscope.progress import QuietReporter
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures import (
    basin_ablations,
    capacity,
    continual,
    continual_further,
    continual_tables,
    fig4,
    language,
    published,
    sec_s7,
    sec_s8,
    split_digits,
)
from landscope.reproduction.figures.figure import Plan
from landscope.reproduction.sequential.continual_result import ContinualResult, LearntTask
from landscope.reproduction.sequential.methods import MethodSettings
from landscope.reproduction.sequential.tuning import Seeds

METHODS = (("ldc-no-floor", 20), ("ldc-floor", 20), ("kfac", 0), ("ewc", 0), ("ewc-empirical", 0), ("l2", 0))
SIZES = {"counts": (10, 20), "n_modes": 20, "early": 5, "epoch": 10, "epochs": 2, "pretraining_epochs": 20}


def tiny(experiments, **changes):
    return tuple(dataclasses.replace(each, **{**SIZES, **changes}) for each in experiments)


def short(figure):
    return tuple(dataclasses.replace(benchmark, epochs=5) for benchmark in figure._QUICK)


FIG4 = {"EXPERIMENTS": tiny(fig4.EXPERIMENTS, methods=METHODS, weights=(50,))}
FIGURES = {
    fig4: {**FIG4, "_UNTUNED": (("ldc-floor", 20),)},
    sec_s7: FIG4,
    sec_s8: {"_EXPERIMENTS": tiny(sec_s8._EXPERIMENTS, methods=METHODS)},
    capacity: {"_EXPERIMENTS": {
        size: dataclasses.replace(experiment, **{**SIZES, "counts": (5, 10, 20), "epochs": 1}, changes={})
        for size, experiment in capacity._EXPERIMENTS.items() if size in ((50, 2), (50, 5))
    }},
    split_digits: {
        "_STRENGTHS": {
            MethodSettings("none"): (math.nan,), MethodSettings("ldc-floor", n_modes=10, rank=15): (4.0,),
            MethodSettings("kfac"): (100.0,), MethodSettings("joint"): (math.nan,),
        },
        "_PRETRAINING_EPOCHS": 20,
    },
    continual: {
        "_STRENGTHS": {name: continual._STRENGTHS[name] for name in ("none", "kfac", "gpm", "gaussians")},
        "_QUICK": short(continual),
    },
    continual_further: {
        "_STRENGTHS": {name: continual_further._STRENGTHS[name] for name in ("none", "basin-default", "kfac")},
        "_QUICK": short(continual_further),
    },
    basin_ablations: {
        "_STRENGTHS": {
            name: basin_ablations._STRENGTHS[name] for name in ("basin-default", "basin-of-loss", "basin-anchored")
        },
    },
    published: {
        "_QUICK": [
            dataclasses.replace(
                protocol, rows=protocol.rows[:2], n_tasks=2, training=dataclasses.replace(protocol.training, epochs=1)
            )
            for protocol in published._QUICK
        ]
    },
    language: {
        "_STRENGTHS": {
            name: language._STRENGTHS[name]
            for name in ("none", "interpolation", "midpoint", "basin-budget-at-end", "ewc-empirical")
        }
    },
}  # fmt: skip
"""Figures with the constants that make them tiny."""
ALIKE = (basin_ablations, continual_further, fig4, language, sec_s7, sec_s8, split_digits)
"""Figures that the others and tests of their parts stand for; tried with the slow tests."""
SMOKE = {"train_samples": 600, "batch_size": 100, "learning_rate": 0.2, "hidden": (12, 12)}


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return Plan(tmp_path_factory.mktemp("figures"), Settings.of(SMOKE), seeds=2, quick=True)


def changed(monkeypatch, figure, constants):
    for name, value in constants.items():
        monkeypatch.setattr(figure, name, value)


def run(figure, plan):
    for job in sorted(figure.jobs(plan), key=lambda job: job.stage):
        job.call(QuietReporter(), *job.arguments)
    return figure.sections(plan)


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")  # the transformer
@pytest.mark.parametrize("figure", [
    pytest.param(figure, id=figure.key, marks=[pytest.mark.slow] if figure in ALIKE else []) for figure in FIGURES
])  # fmt: skip
def test_every_figure_is_made_and_kept(figure, plan, monkeypatch):
    changed(monkeypatch, figure, FIGURES[figure])
    sections = run(figure, plan)
    assert sections[0].key.startswith(figure.key)
    for section in sections:
        assert section.rows
        assert {len(row) for row in section.rows} == {len(section.headings)}
        assert not any("nan" in cell for row in section.rows for cell in row)
        assert section.text or section is not sections[0]
        assert all(plot.draw().data for plot in section.plots)
    times = {path: path.stat().st_mtime_ns for path in plan.folder.rglob("*.zarr.zip")}
    again = run(figure, plan)
    assert {path: path.stat().st_mtime_ns for path in plan.folder.rglob("*.zarr.zip")} == times
    assert [section.rows for section in again] == [section.rows for section in sections]
    assert repr([section.judgements for section in again]) == repr([section.judgements for section in sections])


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("methods", [("none", "kfac"), ("kfac", "ldc-floor")])
def test_a_section_names_what_its_rows_have(batch_norm, methods):
    benchmark = dataclasses.replace(continual_further._BENCHMARKS[0], batch_norm=batch_norm)
    text = continual_tables._text(benchmark, Settings.of(SMOKE), methods)
    assert ("LDC holds 50 modes of the last 200 steps" in text) is ("ldc-floor" in methods)
    assert ("batch normalisation without weights of its own" in text) is batch_norm


def ended_with(error):
    """A single task that ended with an error."""
    task = LearntTask(torch.tensor([error]), 1.0, 1.0, n_stored=1, n_held=1, n_steps=1, learnt=True)
    return ContinualResult.of([task], method="kfac", strength=1.0, n_modes=0, rank=None, tasks=("0",), dim=1)


def test_errors_are_compared_with_kronecker_ewc_seed_by_seed():
    kfac, basin = MethodSettings("kfac"), MethodSettings("basin-default")
    runs, others = ([ended_with(error) for error in errors] for errors in ((0.10, 0.20, 0.30), (0.08, 0.19, 0.25)))
    assert split_digits._difference((kfac, runs), (kfac, runs)) == "–"
    # differences -2, -1 and -5 points: mean -2.67, 4.303 times the standard error of 1.202
    assert split_digits._difference((basin, others), (kfac, runs)) == "-2.67 [-7.84, 2.50]"


@pytest.mark.slow
def test_a_full_figure_tunes_on_seeds_that_it_does_not_report(tmp_path, monkeypatch):
    strengths = {MethodSettings("none"): (math.nan,), MethodSettings("l2"): (0.1, 1.0, 10.0)}
    constants = {"_STRENGTHS": strengths, "_SEEDS": Seeds(2, 1), "_PRETRAINING_EPOCHS": 5}
    changed(monkeypatch, split_digits, constants)
    plan = Plan(tmp_path, Settings.of(SMOKE), seeds=2)
    assert [(job.name, job.stage) for job in split_digits.jobs(plan)] == [
        ("split-digits-seed100", 0), ("split-digits-seed0", 1), ("split-digits-seed1", 1)
    ]  # fmt: skip
    (section,) = run(split_digits, plan)
    kept = {path.name for path in (tmp_path / "runs" / "split-digits-seed100").glob("*.zarr.zip")}
    assert kept == {"l2-0.1.zarr.zip", "l2-1.zarr.zip", "l2-10.zarr.zip"}
    assert len(list((tmp_path / "runs" / "split-digits-seed0").glob("l2*"))) == 1
    assert section.rows[0][0] == "nothing"


def test_results_of_another_size_are_not_mixed_in(plan, monkeypatch):
    changed(monkeypatch, continual, {"_STRENGTHS": {"none": (math.nan,), "kfac": (4.0,)}, "_QUICK": short(continual)})
    run(continual, plan)
    longer = tuple(dataclasses.replace(benchmark, epochs=6) for benchmark in short(continual))
    changed(monkeypatch, continual, {"_QUICK": longer})
    with pytest.raises(StorageError, match=r"results of epochs 6 in .* got some of epochs 5"):
        run(continual, plan)


def test_sizes_of_the_paper():
    first = fig4.EXPERIMENTS[0]
    trials = first.trials()
    assert len(trials) == len(set(trials)) > 150
    assert trials[first.moved()[1]] == MethodSettings("ldc-no-floor", 10.0, 200)
    assert len(first.quick().trials()) < len(trials) / 2
