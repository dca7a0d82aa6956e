"""Recipes: a smoke of every one, resumable, and claims that can come out either way."""

import dataclasses
import json
import math
import os

import pytest
import torch
from landscope.study.measured import judged

import landscope as ls
from known import flatness_of, statistics_of
from landscope.directions.ranks import log_spaced_ranks
from landscope.errors import InputError, StorageError
from landscope.landscape.barrier import log_barrier
from landscope.law.inverse_relation import InverseRelation
from landscope.progress import QuietReporter
from landscope.reproduction.everything import reproduce_recipes
from landscope.reproduction.experiment.networks import mlp
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures import RECIPES
from landscope.reproduction.figures import branches as branching
from landscope.reproduction.figures import cases as cells
from landscope.reproduction.figures import fig6 as widths
from landscope.reproduction.figures import sec_s9 as noisy_descent
from landscope.reproduction.figures.branches_claims import Branch, branch_measurements
from landscope.reproduction.figures.fig6_claims import EffectiveDimension, dimension_measurements
from landscope.reproduction.figures.recipe import Plan
from landscope.reproduction.figures.sec_s6_claims import Case, universality_measurements
from landscope.reproduction.figures.sec_s9_claims import NoisyRun, annealing_measurements
from landscope.reproduction.figures.valleys import measure_valley
from landscope.reproduction.jobs import Job, perform, seconds_of
from landscope.reproduction.pages.everything_page import write_everything_report
from landscope.synthetic import InverseGaussian, sgd_in_bowl

SMOKE = {
    "hidden": (12, 12), "batch_size": 100, "learning_rate": 0.2, "start": 20, "window_epochs": 6, "fit_modes": (2, 12),
    "flatness_modes": 12, "spectrum_ranks": (2, 10), "n_nulls": 1, "noise_modes": 5, "basis_modes": 6,
    "langevin_steps": 100,
}  # fmt: skip


@pytest.fixture
def small(monkeypatch):
    """Recipes of the same shape, in seconds."""
    quick = {
        "data": "digits",
        "train_samples": 300,
        "flatness_samples": None,
        "record_every": 1,
        "window_epochs": 8,
        "start": 3,
    }
    by_key = {"gpt2": {"window_epochs": 4, "start": 40}, "residual": quick}
    by_key |= {cell.key: quick for cell in cells.CELLS if "cnn" in cell.key}
    few = [dataclasses.replace(cell, quick=by_key.get(cell.key, {})) for cell in cells.CELLS]
    monkeypatch.setattr(cells, "CELLS", tuple(few))
    for module in ("figures", "universality", "branching"):
        monkeypatch.setattr(f"landscope.reproduction.figures.{module}.CELLS", tuple(few))
    monkeypatch.setattr("landscope.reproduction.figures.sec_s6._QUICK_MODES", 5)
    monkeypatch.setattr(widths, "_QUICK_WIDTHS", {10: 2, 8: 2, 30: 2})
    monkeypatch.setattr(noisy_descent, "_QUICK_SAMPLES", 60)
    monkeypatch.setattr(noisy_descent, "_QUICK_STEPS", 20)
    monkeypatch.setattr(branching, "_TIME", 4.0)


OWN = [RECIPES[key] for key in ("figures", "sec-S6", "fig6", "sec-S9", "branches")]
"""The recipes that tests/reproduction/figures does not run."""


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")  # the transformer
def test_every_recipe_and_one_page(small, tmp_path):
    plan = Plan(tmp_path / "all", Settings.of(SMOKE), seeds=2, quick=True)
    found = reproduce_recipes(plan, OWN, QuietReporter())
    keys = [judgement.claim.key for judgement in found.judgements]
    assert len(keys) == len(set(keys))
    expected = (
        "psi", "psi_D", "cooling", "universal", "sharp_dimension", "learning_dimension", "flatness_noise_error",
        "freezing", "noise_chooses_flat",
    )  # fmt: skip
    for key in expected:
        assert key in keys
    (universal,) = (section for section in found.sections if section.key == "sec-S6")
    layers = sum(max(1, len(cell.layers)) for cell in cells.CELLS)
    assert len(universal.rows) == layers
    assert all(row[7] != "–" for row in universal.rows)
    numbers = json.loads((tmp_path / "all" / "numbers.json").read_text())
    assert set(numbers) >= {
        "claims",
        "fig2",
        "sec-S6",
        "fig6",
        "sec-S9",
        "branches",
    }
    assert {item["key"] for item in numbers["claims"]} == set(keys)
    text = (tmp_path / "all" / "claims.md").read_text()
    assert all(section.title in text for section in found.sections if section.rows)
    page = write_everything_report(found).read_text()
    assert all(section.title.split(":")[0] in page for section in found.sections)
    assert set(found.seconds) == {recipe.title for recipe in OWN}

    told = []
    again = reproduce_recipes(plan, OWN, QuietReporter(), after=told.append)  # nothing is done twice
    assert [len(so_far.seconds) for so_far in told] == list(range(1, len(OWN) + 1))
    assert repr(again.judgements) == repr(found.judgements)  # some values are NaN
    assert [section.rows for section in again.sections] == [section.rows for section in found.sections]


def test_too_few_seeds_and_other_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="at least 2 seeds"):
        reproduce_recipes(Plan(tmp_path / "r", Settings(), 1), [], QuietReporter())
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(StorageError, match="other files"):
        reproduce_recipes(Plan(tmp_path, Settings(), 2), [], QuietReporter())


def touch(reporter, path, fails):
    if fails:
        raise InputError(expected="a job that works", got="one that does not", hint="Mend it.")
    path.write_text(str(torch.get_num_threads()))


@pytest.mark.parametrize("processes", [1, 2])
def test_jobs_are_done_side_by_side_and_timed(tmp_path, processes):
    jobs = [Job(f"job {n}", touch, (tmp_path / f"{n}.txt", False)) for n in range(3)]
    perform(jobs, QuietReporter(), tmp_path / "times.json", processes=processes)
    assert all((tmp_path / f"{n}.txt").exists() for n in range(3))
    first = seconds_of(tmp_path / "times.json")
    assert set(first) == {job.name for job in jobs}
    perform(jobs[:1], QuietReporter(), tmp_path / "times.json", processes=processes)
    assert seconds_of(tmp_path / "times.json")["job 0"] >= first["job 0"]


def copy(reporter, source, target):
    target.write_text(source.read_text())


@pytest.mark.parametrize("processes", [1, 2])
def test_a_job_of_a_later_stage_finds_what_the_earlier_ones_left(tmp_path, processes):
    later = [Job(f"copy {n}", copy, (tmp_path / f"{n}.txt", tmp_path / f"copy-{n}.txt"), stage=1) for n in range(2)]
    earlier = [Job(f"job {n}", touch, (tmp_path / f"{n}.txt", False)) for n in range(2)]
    perform([*later, *earlier], QuietReporter(), tmp_path / "times.json", processes=processes)
    assert all((tmp_path / f"copy-{n}.txt").exists() for n in range(2))


@pytest.mark.parametrize("processes", [1, 2])
def test_what_goes_wrong_in_a_job_is_told(tmp_path, processes):
    jobs = [Job("bad", touch, (tmp_path / "bad.txt", True)), Job("good", touch, (tmp_path / "good.txt", False))]
    with pytest.raises(InputError, match="a job that works"):
        perform(jobs, QuietReporter(), tmp_path / "times.json", processes=processes)


# The relation three ways ----------------------------------------------------------------------------------------------


def test_the_relation_is_what_its_parts_are(trained_digits):
    curvature = torch.logspace(0, 2, 30).double()
    path = ls.Trajectory.of(sgd_in_bowl(curvature, 2000, learning_rate=0.01, noise_variance=1.0, seed=0))
    well, window, fresh = InverseGaussian(curvature), path.window(1, 1001), path.window(1001)
    relation = InverseRelation(well, window, fresh, (2, 25))
    modes = ls.principal_modes(window, 25)
    widths = ls.flatness(well, window.row(-1), modes.directions)
    law = ls.variance_flatness(modes, window, widths, (2, 25))
    assert relation.in_sample().psi == pytest.approx(law.psi, rel=1e-9)
    assert relation.next_window().psi == pytest.approx(
        ls.variance_flatness(modes, fresh, widths, (2, 25)).psi, rel=1e-9
    )
    null = ls.surrogates.shuffled_increments(window, seed=3)
    modes = ls.principal_modes(null, 25)
    widths = ls.flatness(well, window.row(-1), modes.directions)
    assert relation.null(seed=3).psi == pytest.approx(ls.variance_flatness(modes, null, widths, (2, 25)).psi, rel=1e-9)


def test_long_windows_of_many_weights_are_thinned(monkeypatch):
    """Modes from every fourth row are those of all rows here: the walk is smooth."""
    monkeypatch.setattr("landscope.law.inverse_relation._ROWS", 50)
    times = torch.linspace(0, 20, 400).double()
    shapes = torch.linalg.qr(torch.randn(60, 60).double()).Q[:3]
    rows = torch.stack([3 * torch.sin(times), 2 * torch.cos(2 * times), torch.sin(5 * times)], dim=1) @ shapes
    window, fresh = (ls.Trajectory.of(rows + 1e-6 * torch.randn_like(rows)) for _ in range(2))
    well = InverseGaussian(torch.ones(60).double())
    thinned = InverseRelation(well, window, fresh, (1, 10)).in_sample()
    monkeypatch.setattr("landscope.law.inverse_relation._ROWS", 10**6)
    whole = InverseRelation(well, window, fresh, (1, 10)).in_sample()
    assert thinned.variance[:3].tolist() == pytest.approx(whole.variance[:3].tolist(), rel=0.02)


def test_log_spaced_ranks():
    assert log_spaced_ranks(5).tolist() == [1, 2, 3, 4, 5]
    assert log_spaced_ranks(500, 100, 2)[[0, -1]].tolist() == [2, 500]
    assert 100 <= len(log_spaced_ranks(500, 100, 2)) <= 102
    assert log_spaced_ranks(7, 100, 3).tolist() == [3, 4, 5, 6, 7]


# Known answers of valleys and dimensions ------------------------------------------------------------------------------


def rescaled(model, factors):
    """The same function: units of the first hidden layer times factors, what reads them divided by these."""
    twin = mlp([64, 20, 20, 10])
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        twin[2].weight *= factors[:, None]
        twin[4].weight /= factors[None, :]
    return twin


def test_relative_flatness_does_not_see_the_scale_of_a_layer(trained_digits):
    """F of the weights between the hidden layers grows with their scale, F over their norm does not; with a factor of
    its own for each unit it does: what stays the same is the function, not its geometry."""
    model, data = trained_digits
    space = ls.ParameterSpace.of(model, "2.weight")

    def valley(of):
        risk = ls.EmpiricalRisk(of, torch.nn.functional.cross_entropy, data, space=space)
        return measure_valley(risk, risk.w0, 5), risk

    own, risk = valley(model)
    scaled, other = valley(rescaled(model, torch.full((20,), 3.0)))
    assert float(other(other.w0)) == pytest.approx(float(risk(risk.w0)), rel=1e-5)
    assert float((scaled.width / own.width).nanmedian()) == pytest.approx(3.0, rel=2e-2)
    assert scaled.relative_flatness == pytest.approx(own.relative_flatness, rel=2e-2)
    uneven, _ = valley(rescaled(model, torch.logspace(-1, 1, 20)))
    assert abs(math.log(uneven.relative_flatness / own.relative_flatness)) > 0.1


def test_the_count_of_sharp_directions_does_not_see_it_either(trained_digits):
    model, data = trained_digits
    space, directions = ls.ParameterSpace.of(model, "2.weight"), torch.linalg.qr(torch.randn(400, 400)).Q[:60]
    counts, raw = [], []
    for factor in (1.0, 3.0):
        risk = ls.EmpiricalRisk(
            rescaled(model, torch.full((20,), factor)), torch.nn.functional.cross_entropy, data, space=space
        )
        found = ls.flatness(risk, risk.w0, directions)
        threshold = 0.5 * float(risk.w0.norm())
        counts.append(ls.landscape.sharp_dimension(found, threshold))
        raw.append(ls.landscape.sharp_dimension(found, 0.5 * float(risk.w0.norm()) / factor))
    assert counts[0] == counts[1] > 0
    assert raw[0] != raw[1]


def test_a_barrier_between_two_wells():
    def wells(w):
        x = w[..., 0]
        return torch.exp((x.square() - 1).square())

    assert log_barrier(wells, torch.tensor([-1.0]), torch.tensor([1.0])) == pytest.approx(1.0, rel=1e-6)
    assert log_barrier(wells, torch.tensor([0.5]), torch.tensor([1.0])) == 0.0


# Verdicts -------------------------------------------------------------------------------------------------------------


def exponents(psi):
    curvature = torch.logspace(0, 1, 6).double()
    path = ls.Trajectory.of(sgd_in_bowl(curvature, 200, learning_rate=0.1, noise_variance=1e-4, seed=0))
    relation = InverseRelation(InverseGaussian(curvature), path.window(1, 101), path.window(101), (1, 6))
    return dataclasses.replace(relation.in_sample(), psi=psi, psi_interval=(psi - 0.1, psi + 0.1))


def verdict(key, measured):
    return {judgement.claim.key: judgement.verdict for judgement in judged(measured)}[key]


@pytest.mark.parametrize(
    ("own", "fresh", "null", "expected"),
    [
        ((4.0, 3.0), (1.0, 1.5), (0.0, -0.5), "reproduced"),
        ((1.0, 5.0), (1.0, 1.0), (0.1, 4.0), "reproduced"),  # each beside its own null
        ((4.0, -3.0), (1.0, 1.0), (0.0, 0.0), "not reproduced"),
        ((4.0, 3.0), (1.0, -1.0), (0.0, 0.0), "contested"),
        ((1.0, 2.0), (1.0, 1.0), (3.0, 4.0), "contested"),
        ((4.0, 3.0), (1.0, 1.0), (2.0, 5.0), "contested"),
        ((math.nan, math.nan), (1.0, 1.0), (2.0, 5.0), "not measured"),
    ],
)
def test_universality(own, fresh, null, expected):
    cases = [
        Case(
            f"case {n}", "digits", 100, "w", 6, [0.0], [exponents(own[n])], [exponents(fresh[n])], [exponents(null[n])]
        )
        for n in range(2)
    ]
    assert verdict("universal", universality_measurements(cases)) == expected


def solution(weights, sharp, learning, null):
    return EffectiveDimension(
        n_weights=weights, norm=1.0, width=torch.ones(3), n_sharp=sharp, n_learning=(1, 2, learning, learning),
        n_null=(1, null), loss0=0.1, test_error=0.1, start_epoch=3,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sharp", "learning", "expected"),
    [
        (lambda n: 40, lambda n: 60, ("reproduced", "reproduced")),
        (lambda n: n / 40, lambda n: n / 10, ("not reproduced", "not reproduced")),
    ],
)
def test_dimensions(sharp, learning, expected):
    found = {
        w: [solution(w * w, int(sharp(w * w)) + s, int(learning(w * w)) + s, w) for s in range(3)]
        for w in (20, 40, 50, 100)
    }
    found[400] = [solution(160_000, 3, 9, 9)]  # all three directions there were
    measured = dimension_measurements(found)
    assert "D_s is at least 3 at width 400" in measured["sharp_dimension"].note
    assert (verdict("sharp_dimension", measured), verdict("learning_dimension", measured)) == expected
    assert verdict("few_sharp", measured) == "reproduced"


def noisy(test_error, flatness):
    rows = torch.tensor([test_error]).double()
    return NoisyRun(
        noise="x", step=rows, train_loss=rows, train_error=rows, test_error=rows, flatness=flatness, sharpness=1.0,
        exploration_step=math.nan,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("own", "none", "expected"),
    [(0.05, 0.10, "reproduced"), (0.15, 0.10, "not reproduced"), (0.05, 0.05, "contested")],
)
def test_noise_by_flatness(own, none, expected):
    """Against isotropic noise; descent without noise must not do as well, other noises decide nothing."""

    def runs(error):
        return [noisy(error + 1e-4 * seed**2, 1 / error + 0.01 * seed**2) for seed in range(3)]

    isotropic = [noisy(0.10 + 1e-5 * seed, 10.0) for seed in range(3)]
    found = {"flatness": runs(own), "isotropic": isotropic, "none": runs(none), "sgd": runs(own)}
    measured = annealing_measurements(found)
    assert verdict("flatness_noise_error", measured) == expected
    assert verdict("flatness_noise_width", measured) == expected
    assert "sgd" in measured["flatness_noise_error"].note


@pytest.mark.parametrize(("early", "expected"), [(2.0, "reproduced"), (0.1, "not reproduced")])
def test_freezing(early, expected):
    def branch(parent, step, size, barrier):
        return Branch(
            parent=parent, step=step, batch_size=size, learning_rate=0.1, loss=0.1, train_error=0.0, test_error=0.1,
            flatness=1.0 / size if early > 1 else float(size), distance=1.0, barrier=barrier,
        )  # fmt: skip

    found = [
        branch(parent, step, size, (early if step == 10 else 1.0 if step == 100 else 0.5 + (early < 1)) + 0.01 * parent)
        for parent in (0, 1, 2)
        for step in (10, 100, 1000)
        for size in (50, 500)
    ]
    measured = branch_measurements(found)
    assert verdict("freezing", measured) == expected
    assert verdict("noise_chooses_flat", measured) == expected


def test_parents_without_barriers_say_nothing():
    branches = [
        Branch(parent=parent, step=step, batch_size=50, learning_rate=0.1, loss=0.1, train_error=0.0, test_error=0.1,
               flatness=1.0 + parent, distance=1.0, barrier=0.0 if parent == 0 else 1.0 / step)
        for parent in (0, 1, 2) for step in (10, 100, 1000)
    ]  # fmt: skip
    measured = branch_measurements(branches)["freezing"]
    assert measured.value == -1.0
    assert "1 of 3 parents do not say" in measured.note


def test_measured_modes_stand_for_those_between_them():
    """A law that bends: fitted over log-spaced modes it comes out as over all, not as a fit of equal weight to few."""
    ranks = torch.arange(1, 401)
    width = ranks.double() ** 0.5 * (1 + ranks / 200.0)
    variance = width**-3 * torch.exp(-ranks / 300.0)

    def psi(few):
        found = flatness_of(width[few - 1])
        return ls.law.fit_exponents("x", statistics_of(variance), found, (2, 400), ranks=few).psi

    exact = psi(log_spaced_ranks(400, None, 2))
    assert psi(log_spaced_ranks(400, 40, 2)) == pytest.approx(exact, abs=0.02)
    unweighted = -float(
        ls.law.fit_power_law(
            width[log_spaced_ranks(400, 40, 2) - 1], variance[log_spaced_ranks(400, 40, 2) - 1]
        ).exponent
    )
    assert abs(unweighted - exact) > 0.1


def later(window):
    return dataclasses.replace(window, steps=window.steps + len(window))


def test_a_landscape_of_another_moment_or_other_coordinates_is_refused(trained_digits):
    model, data = trained_digits
    risk = ls.EmpiricalRisk(
        model, torch.nn.functional.cross_entropy, data, space=ls.ParameterSpace.of(model, "2.weight")
    )
    rows = risk.w0 + 1e-3 * torch.randn(50, risk.space.dim).cumsum(0)
    for last in (risk.w0 + 1e-2, 2 * risk.w0):
        window = ls.Trajectory.of(torch.cat([rows, last[None]]))
        with pytest.raises(InputError, match="last row of the window"):
            InverseRelation(risk, window, later(window))
    scale = torch.full((risk.space.dim,), 2.0)
    window = ls.Trajectory.of(torch.cat([rows, risk.w0[None]]))
    InverseRelation(ls.landscape.Preconditioned(risk, scale), window.scaled(scale), later(window).scaled(scale))
    with pytest.raises(InputError, match=r"trajectory\.scaled"):
        InverseRelation(ls.landscape.Preconditioned(risk, scale), window, later(window))


def die(reporter):
    os._exit(9)


def test_a_killed_process_is_told(tmp_path):
    with pytest.raises(StorageError, match="--jobs 1 to go on"):
        perform([Job("dies", die, ())], QuietReporter(), tmp_path / "times.json", processes=2)
