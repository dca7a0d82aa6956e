"""The first stages of a study: what they leave in the folder is what the library measures."""

import shutil

import pytest
import torch

import landscope as ls
from landscope.errors import LandscopeWarning, StorageError
from landscope.landscape import Flatness, LossProfiles
from landscope.law.exponents import Exponents
from landscope.study.saved import DrawnModes
from landscope.study.stages import STAGES


@pytest.fixture
def copied(small_run, tmp_path):
    """The folder of the small run, to be changed."""
    return shutil.copytree(small_run.path, tmp_path / "copy")


def again(small_run, folder):
    """The study of the small run's network in another folder."""
    experiment = small_run.experiment
    return ls.Study(folder, experiment.network(), experiment.criterion, experiment.landscape_data)


def test_the_exponents_are_those_of_the_library(small_run):
    study = small_run.results
    assert torch.equal(ls.principal_modes(study.window).variance, study.modes.variance)
    assert len(study.flatness.width) == 80
    fitted, fresh = study.law.in_sample, small_run.load("exponents-fresh", Exponents)
    by_hand = ls.variance_flatness(study.modes, study.window, study.flatness, (2, 60))
    assert fitted.psi == pytest.approx(by_hand.psi, rel=1e-9)
    by_hand = ls.variance_flatness(study.modes, study.fresh, study.flatness, (2, 60))
    assert fresh.psi == pytest.approx(by_hand.psi, rel=1e-9)
    steps = study.window.weights.double().diff(dim=0) @ study.modes.directions.T
    strength = ls.law.fit_power_law(study.flatness.width[fitted.used[:80]], steps.square().mean(dim=0)[fitted.used])
    assert fitted.psi_D == pytest.approx(-strength.exponent, rel=1e-9)
    assert fitted.psi_tau == pytest.approx(fitted.psi - fitted.psi_D)


def test_profiles_cross_where_flatness_says(small_run):
    drawn, ranks = small_run.load("profiles", LossProfiles), small_run.load("drawn-modes", DrawnModes).ranks
    widths = small_run.results.flatness
    for row, rank in enumerate(ranks):
        level = torch.log(drawn.loss[row] / drawn.loss0) - 1
        crossings = (level[:-1] * level[1:] < 0).sum()
        assert int(crossings) == 2
        inside = drawn.displacements[row][level < 0]
        assert float(widths.left[rank - 1]) <= float(inside.min())
        assert float(inside.max()) <= float(widths.right[rank - 1])


def test_finished_stages_are_not_done_again(small_run):
    before = {
        path: path.stat().st_mtime_ns for path in small_run.path.rglob("*") if path.is_file() and path.name != ".lock"
    }
    small_run.study.analyse(progress=False)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_damaged_result_is_named_and_made_again(small_run, copied):
    (copied / "exponents-in-sample.zarr.zip").unlink()
    content = (copied / "flatness.zarr.zip").read_bytes()
    (copied / "flatness.zarr.zip").write_bytes(content[:200])
    with pytest.raises(StorageError, match=r"flatness\.zarr\.zip"):
        _ = ls.Study(copied).flatness
    again(small_run, copied).analyse(progress=False)
    assert torch.equal(ls.Study(copied).flatness.width, small_run.load("flatness", Flatness).width)


def test_a_saved_model_of_another_training_is_refused(small_run, copied):
    saved = copied / "checkpoints"
    (saved / "step-000000384.zarr.zip").replace(saved / "step-000000390.zarr.zip")
    (copied / "flatness.zarr.zip").unlink()
    with (
        pytest.warns(LandscopeWarning, match="missing or others"),
        pytest.raises(StorageError, match="of different trainings"),
    ):
        again(small_run, copied).analyse(progress=False)


def test_verdicts_are_computed_when_they_are_read(small_run, copied):
    own = small_run.load("exponents-in-sample", Exponents)
    before = {judgement.claim.key: judgement.verdict for judgement in small_run.results.claims}
    changed = {"psi": -9.0, "psi_interval": (-9.1, -8.9)}
    ls.Study(copied).folder.save("exponents-in-sample", type(own)(**{**vars(own), **changed}))
    after = {judgement.claim.key: judgement.verdict for judgement in ls.Study(copied).claims}
    assert before["psi"] != after["psi"] == "not reproduced"


def test_stages_are_the_arrows():
    assert [stage.name for stage in STAGES] == ["modes", "flatness", "law", "noise", "controls", "dynamics"]
