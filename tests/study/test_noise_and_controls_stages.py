"""The later stages of a run: what they leave is what the library measures, and the page and the claims show it."""

import json
import math
import shutil

import pytest
import torch
from landscope.report.run_page import write_report
from landscope.study.analyse import risk_at_window_end
from landscope.study.controls import ROWS
from landscope.study.measured import judgements_of, measurements_of

import landscope as ls
from landscope.claims.statements import CONTROLS as CONTROLLED
from landscope.claims.statements import LAW, NOISE
from landscope.errors import StorageError
from landscope.law.exponents import Exponents
from landscope.law.sensitivity import Sensitivity
from landscope.law.window_growth import measure_growth
from landscope.noise.mode_statistics import mode_statistics
from landscope.noise.springs import Springs, spring_ranks
from landscope.progress import QuietReporter
from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.experiment.train import windows
from landscope.reproduction.pages.reproduction_page import write_reproduction_report
from landscope.reproduction.pooling import FIGURES, judgements_on, reproduce
from landscope.study.folder import RunFolder
from landscope.study.pipeline import run_stages
from landscope.surrogates.epoch_noise import crossover_curvature
from landscope.training_history import TrainingHistory
from landscope.trajectory import Trajectory
from small_run import SMALL, assert_same

LATE = {"noise_modes": 12, "basis_modes": 20, "langevin_steps": 1500}

OF_A_RUN = (*LAW, *NOISE, *CONTROLLED)


@pytest.fixture(scope="module")
def late_run(tmp_path_factory):
    run = RunFolder.create(tmp_path_factory.mktemp("late") / "run", Settings.of({**SMALL, **LATE}))
    run_stages(run, QuietReporter(), until="controls")
    return run


@pytest.fixture(scope="module")
def parts(late_run):
    risk, window = risk_at_window_end(late_run, Experiment(late_run.settings))
    return risk, window, late_run.load("modes", ls.directions.Directions)


def test_every_claim_is_measured_and_every_row_is_there(late_run):
    judged = {judgement.claim.key: judgement for judgement in judgements_of(late_run)}
    assert set(judged) == {claim.key for claim in OF_A_RUN}
    assert all(late_run.has(f"exponents-{key}") for key in ROWS)
    unmeasured = {key for key, judgement in judged.items() if judgement.verdict == "not measured"}
    assert unmeasured <= {"gamma", "noise_by_curvature"}


def test_the_noise_stage_keeps_what_the_library_measures(late_run, parts):
    risk, window, modes = parts
    found = late_run.load("noise-velocity", ls.noise.VelocityStatistics)
    fresh = ls.noise.velocity_statistics(window, modes, 15, steps_per_epoch=15)
    assert torch.equal(found.correlation_time, fresh.correlation_time)
    ensemble = risk.minibatches(100, seed=0)
    noise = ls.noise.gradient_noise(ensemble, risk.w0, modes.directions[:60].to(risk.w0))
    torch.testing.assert_close(late_run.load("noise-gradient", ls.noise.GradientNoise).variance, noise.variance)
    springs = late_run.load("noise-springs", Springs)
    assert (springs.n_batches, springs.n_left_out) == (15, 0)
    assert springs.ranks[0] == 2


def test_beta_is_the_slope_of_the_log_loss(late_run):
    along = ls.load(late_run.file("noise-drift-path"))
    # central differences over 1 % of the window's way: the third derivative bends them by little
    assert along.beta_ensemble == pytest.approx(along.beta_slope, rel=0.05)
    assert along.window_displacement > 0


def test_rows_measure_what_they_say(late_run, parts):
    _, window, _ = parts
    basis = ls.load(late_run.file("basis-hessian"))
    row = late_run.load("exponents-hessian", Exponents)
    torch.testing.assert_close(row.variance, mode_statistics(basis, window).variance)
    assert (basis.residuals < 1e-2).all()
    thermal = late_run.load("exponents-langevin", Exponents)
    assert thermal.psi < -1
    assert late_run.load("exponents-random-walk", Exponents).psi_D == pytest.approx(0, abs=0.2)
    history = late_run.load("training", TrainingHistory)
    window, next_window = windows(late_run, history)
    along_next = mode_statistics(basis, next_window)
    assert torch.equal(along_next.variance, late_run.load("exponents-hessian-next", Exponents).variance)


def test_sensitivity_starts_with_what_is_reported(late_run):
    found = late_run.load("sensitivity", Sensitivity)
    own = late_run.load("exponents-in-sample", Exponents)
    assert found.exponents[0].tolist() == pytest.approx([own.psi, own.psi_D, own.psi_tau])
    assert "flatness at 2 L0 instead of e L0" in found.choices
    assert any("inverse" in choice for choice in found.choices)


def test_a_killed_stage_goes_on_to_the_same_bits(late_run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(late_run.path, copy)
    for name in (
        "noise",
        "noise-springs",
        "noise-temperature-over-training",
        "controls",
        "exponents-langevin",
        "growth",
    ):
        (copy / f"{name}.zarr.zip").unlink()
    run_stages(RunFolder.open(copy), QuietReporter(), until="controls")
    for name in ("noise-springs", "noise-temperature-over-training", "exponents-langevin", "growth"):
        first, second = ls.load(late_run.file(name)), ls.load(copy / f"{name}.zarr.zip")
        assert_same(first.tensors(), second.tensors())
    assert repr(measurements_of(late_run)) == repr(measurements_of(RunFolder.open(copy)))


def test_a_deleted_part_is_made_again(late_run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(late_run.path, copy)
    artefacts = ("noise-springs", "basis-hessian", "exponents-shuffled-0", "motion", "profile-fits")
    gone = [*(f"{name}.zarr.zip" for name in artefacts), "measurements-noise.json"]
    for name in gone:
        (copy / name).unlink()
    run_stages(RunFolder.open(copy), QuietReporter(), until="controls")
    assert all((copy / name).exists() for name in gone)
    assert repr(measurements_of(late_run)) == repr(measurements_of(RunFolder.open(copy)))


def test_without_checkpoints_nothing_is_said_on_cooling(late_run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(late_run.path, copy)
    shutil.rmtree(copy / "checkpoints")
    (copy / "noise-cooling.zarr.zip").unlink()
    run = RunFolder.open(copy)
    run_stages(run, QuietReporter(), until="noise")
    verdicts = {judgement.claim.key: judgement.verdict for judgement in judgements_of(run)}
    assert verdicts["cooling"] == verdicts["frozen"] == "not measured"


def test_the_page_shows_the_later_stages_without_the_data(late_run, monkeypatch):
    from landscope.reproduction.experiment import problem

    monkeypatch.setattr(problem, "load_data", None)  # a finished run needs them no more
    page = write_report(late_run).read_text()
    for name in ("fig3a", "fig3b-d", "fig3b-tau", "figs7", "fig5a", "fig5b", "fig5c", "fig5d", "drift-line", "locality",
                 "layers", "stationarity", "activity", "exponents", "equilibrium", "samplings", "growth"):  # fmt: skip
        assert f'id="{name}"' in page, name
    assert "isotropic Langevin" in page
    assert "Criterion" in page


def test_damaged_measurements_are_named(late_run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(late_run.path, copy)
    (copy / "measurements-noise.json").write_text("{")
    with pytest.raises(StorageError, match=r"measurements-noise\.json"):
        judgements_of(RunFolder.open(copy))


def test_reproducing_a_figure_pools_rows_and_claims(tmp_path):
    settings = Settings.of({**SMALL, **LATE, "n_nulls": 1, "flatness_modes": 60})
    pooled = reproduce(tmp_path / "r", settings, seeds=2, pairs=[(100, 0.2)], reporter=QuietReporter(), figure="fig3")
    rows = json.loads((tmp_path / "r" / "table.json").read_text())[0]["exponents"]
    assert set(rows) == {"in-sample", "same modes, next window", "shuffled increments", *ROWS.values()}
    assert all(len(row["psi"]) == 2 for row in rows.values())
    keys = {judgement.claim.key for judgement in judgements_on(pooled[0], "fig3")}
    assert {key for _, about in FIGURES.values() for key in about} == {claim.key for claim in OF_A_RUN}
    assert {"psi_D", "psi_tau", "inverse_einstein", "psi_hessian"} <= keys
    page = write_reproduction_report(tmp_path / "r", pooled, "fig3", "digits").read_text()
    assert 'id="fig3a"' in page
    assert "Hessian eigenvectors, window" in (tmp_path / "r" / "table.md").read_text()


def test_growth_needs_an_epoch():
    basis = ls.directions.random(5, 3, seed=0)
    nothing = torch.full((3,), math.nan, dtype=torch.float64)
    widths = ls.landscape.Flatness(
        left=-nothing, right=nothing, width=nothing, bracketed=torch.zeros(3, dtype=torch.bool),
        evaluations=torch.zeros(3, dtype=torch.int64), loss0=1.0, ratio=math.e, max_displacement=nothing,
    )  # fmt: skip
    with pytest.raises(ls.errors.InputError, match="one epoch"):
        measure_growth(Trajectory.of(torch.randn(20, 5)), basis, widths, 30)
    assert len(spring_ranks(widths, 10)) == 0


def test_crossover():
    assert crossover_curvature(0.1, 300) == pytest.approx(0.1)
