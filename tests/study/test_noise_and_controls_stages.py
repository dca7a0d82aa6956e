"""The later stages of a study: what they leave is what the library measures, and the page and the claims show it."""

import math
import shutil

import pytest
import torch

import landscope as ls
from landscope.claims.statements import CLAIMS
from landscope.errors import LandscopeWarning, StorageError
from landscope.law.exponents import Exponents
from landscope.law.sensitivity import Sensitivity
from landscope.law.window_growth import measure_growth
from landscope.noise.mode_statistics import mode_statistics
from landscope.noise.springs import Springs, spring_ranks
from landscope.progress import QuietReporter
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.experiment.settings import Settings
from landscope.study.stages.controls import ROWS
from landscope.study.stages.one_window import ONE_WINDOW_ROWS
from landscope.surrogates.epoch_noise import crossover_curvature
from landscope.trajectory import Trajectory
from small_run import SMALL, assert_same

LATE = {
    "noise_modes": 12,
    "basis_modes": 20,
    "langevin_steps": 300,
    "response_modes": 3,
    "response_steps": 20,
    "curvature_modes": 20,
    "learning_coefficient_steps": 100,
}


@pytest.fixture(scope="module")
def late_run(tmp_path_factory):
    run = ExperimentRun.create(tmp_path_factory.mktemp("late") / "run", Settings.of({**SMALL, **LATE}))
    run.analyse(QuietReporter(), until="dynamics")
    return run


@pytest.fixture
def copied(late_run, tmp_path):
    """The folder of the run, to be changed."""
    return shutil.copytree(late_run.path, tmp_path / "copy")


def delete(folder, *names):
    for name in names:
        (folder / f"{name}.zarr.zip").unlink()


def test_every_claim_is_measured_and_every_row_is_there(late_run):
    judged = {judgement.claim.key: judgement for judgement in late_run.results.claims}
    assert set(judged) == {claim.key for claim in CLAIMS}
    assert all(late_run.has(f"exponents-{key}") for key in ROWS if key not in ONE_WINDOW_ROWS)
    unmeasured = {key for key, judgement in judged.items() if judgement.verdict == "not measured"}
    assert unmeasured <= {"gamma", "noise_by_curvature", "psi_infinity_of_run", "plateau", "faster_decay"}  # few modes
    assert "psi_infinity_of_run" not in unmeasured or "not identified" in judged["psi_infinity_of_run"].why
    # Two whole models lie in the window, too few for the force along it; and the loss still falls in it.
    reasons = {"at least 5 whole models", "weights that drift"}
    assert all(any(each in reason for each in reasons) for reason in late_run.results.not_measured.values())


def test_the_noise_stage_keeps_what_the_library_measures(late_run):
    study = late_run.study
    risk, modes = study.risk(), study.modes
    found = late_run.load("noise-velocity", ls.noise.VelocityStatistics)
    expected = ls.noise.velocity_statistics(study.window, modes, 15, steps_per_epoch=15)
    assert torch.equal(found.correlation_time, expected.correlation_time)
    ensemble = risk.minibatches(100, seed=0)
    noise = ls.noise.gradient_noise(ensemble, risk.w0, modes.directions[:60].to(risk.w0))
    torch.testing.assert_close(late_run.load("noise-gradient", ls.noise.GradientNoise).variance, noise.variance)
    springs = late_run.load("noise-springs", Springs)
    assert (springs.n_batches, springs.n_left_out) == (15, 0)
    assert springs.ranks[0] == 2


def test_beta_is_the_slope_of_the_log_loss(late_run):
    along = ls.load(late_run.path / "noise-drift-path.zarr.zip")
    # central differences over 1 % of the window's way: the third derivative bends them by little
    assert along.beta_ensemble == pytest.approx(along.beta_slope, rel=0.05)
    assert along.window_displacement > 0


def test_rows_measure_what_they_say(late_run):
    study = late_run.results
    basis = late_run.load("basis-hessian", ls.directions.Directions)
    row = late_run.load("exponents-hessian", Exponents)
    torch.testing.assert_close(row.variance, mode_statistics(basis, study.window).variance)
    assert (basis.residuals < 1e-2).all()
    order = late_run.load("basis-curvature", ls.directions.Directions)
    assert (order.values.diff() <= 0).all()  # ranks by curvature, without a look at the variance
    by_curvature = late_run.load("exponents-curvature", Exponents)
    torch.testing.assert_close(by_curvature.variance, mode_statistics(order, study.window).variance)
    thermal = late_run.load("exponents-langevin", Exponents)
    equilibrium = late_run.load("equilibrium", ls.law.Equilibrium)
    assert bool(equilibrium.used.all())
    assert thermal.psi == pytest.approx(float(equilibrium.psi[0]), abs=1e-9)  # the first draw, through the same code
    assert -2 < equilibrium.psi_expected < 0 < equilibrium.psi_proportional_expected
    assert (equilibrium.n_steps, equilibrium.n_walked) == (len(study.window), LATE["langevin_steps"])
    assert not math.isnan(equilibrium.anharmonic)
    assert late_run.load("exponents-random-walk", Exponents).psi_D == pytest.approx(0, abs=0.2)
    along_fresh = mode_statistics(basis, study.fresh)
    assert torch.equal(along_fresh.variance, late_run.load("exponents-hessian-fresh", Exponents).variance)


def test_sensitivity_starts_with_what_is_reported(late_run):
    found = late_run.load("sensitivity", Sensitivity)
    own = late_run.results.law.in_sample
    assert found.exponents[0].tolist() == pytest.approx([own.psi, own.psi_D, own.psi_tau])
    assert "flatness at 2 L0 instead of e L0" in found.choices
    assert any("inverse" in choice for choice in found.choices)


def test_deleted_results_are_made_again_with_the_same_bits(late_run, copied):
    gone = (
        "noise-springs", "noise-temperature-over-training", "exponents-langevin", "growth", "basis-hessian",
        "exponents-shuffled-0", "statistics", "profile-fits",
    )  # fmt: skip
    delete(copied, *gone)
    ExperimentRun.open(copied).analyse(QuietReporter(), until="dynamics")
    for name in gone:
        first, second = (ls.load(path / f"{name}.zarr.zip") for path in (late_run.path, copied))
        assert_same(first.tensors(), second.tensors())
    assert repr(late_run.results.measurements) == repr(ls.Study(copied).measurements)


def test_without_saved_models_the_cooling_is_not_measured_and_the_page_says_what_it_needs(copied):
    for file in (copied / "checkpoints").iterdir():
        if "390" not in file.name:
            file.unlink()
    delete(copied, "noise-temperature-over-training")
    run = ExperimentRun.open(copied)
    with pytest.warns(LandscopeWarning, match="20 files that the training left"):
        run.study.analyse(until="noise", progress=False)  # the study alone; the run would train again
    verdicts = {judgement.claim.key: judgement.verdict for judgement in run.results.claims}
    assert verdicts["cooling"] == verdicts["frozen"] == "not measured"
    assert "whole models saved during the training" in run.results.not_measured["noise-temperature-over-training"]
    assert "needs whole models saved during the training" in run.report().read_text()


def test_the_page_shows_the_later_stages_without_the_data(late_run, monkeypatch):

    monkeypatch.setattr(
        "landscope.reproduction.experiment.experiment.load_data", None
    )  # the page of a finished run needs no data
    page = ExperimentRun.open(late_run.path).report().read_text()
    for name in (
        "minibatch_profiles", "noise_against_flatness", "correlation_time_against_flatness", "spring_statistics",
        "temperature_profiles", "temperature_against_flatness", "temperature_profiles_over_training",
        "temperature_over_training", "inverse_loss_over_training", "flatness_and_curvature",
        "noise_against_curvature", "stationarity", "active_modes", "exponents", "equilibrium",
        "correlation_time_by_sampling", "variance_against_window",
    ):  # fmt: skip
        assert f'id="{name}"' in page, name
    assert "isotropic Langevin" in page
    assert "What decides" in page


def test_damaged_results_are_named(copied):
    (copied / "noise-springs.zarr.zip").write_bytes(b"{")
    with pytest.raises(StorageError, match=r"noise-springs\.zarr\.zip"):
        _ = ls.Study(copied).measurements


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


def test_one_window_that_drifts_has_its_prediction_beside_the_fresh_data_and_no_exponents(late_run):
    study = late_run.study
    found = late_run.load("one-window", ls.law.OneWindow)
    expected = ls.law.one_window_correction(study.modes, study.window, len(found.corrected))
    assert torch.equal(found.corrected, expected.corrected)
    assert found.drift_reason == expected.drift_reason != ""
    assert not any(late_run.has(f"exponents-{key}") for key in ONE_WINDOW_ROWS)
    kept = late_run.read_note("not-measured")
    assert all("weights that drift" in kept[f"exponents-{key}"] for key in ONE_WINDOW_ROWS)
    names = [trace.name for trace in study.plots.variance_after_correction().data]
    assert names[:3] == ["in-sample", "fresh data", "predicted from one window, too large: the weights drift"]
