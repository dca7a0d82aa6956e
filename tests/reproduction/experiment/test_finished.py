"""What a finished training left and what was lost of it since: the same command makes it again, bit for bit."""

import shutil

import pytest

from damages import digests
from landscope.errors import StorageError
from landscope.progress import QuietReporter
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.experiment.settings import Settings
from landscope.study.check import check_study
from small_run import SMALL, Listening


@pytest.fixture
def copied(small_run, tmp_path):
    return shutil.copytree(small_run.path, tmp_path / "run")


LOST = {
    "the recording": lambda folder: shutil.rmtree(folder / "trajectory"),
    "a segment": lambda folder: next((folder / "trajectory").glob("weights-*")).write_bytes(b"x"),
    "a whole model": lambda folder: (folder / "checkpoints" / "step-000000064.zarr.zip").unlink(),
    "the facts": lambda folder: (folder / "training.json").unlink(),
    "the history": lambda folder: (folder / "training.zarr.zip").write_bytes(b""),
}


@pytest.mark.parametrize(
    "lost", [pytest.param(name, marks=() if name == "a segment" else pytest.mark.slow) for name in LOST]
)
def test_what_is_lost_of_a_training_is_made_again_by_the_same_command(copied, small_run, lost):
    LOST[lost](copied)
    named = check_study(copied)
    assert all(f"landscope analyse {copied}" in one.remedy for one in named)
    assert named
    reporter = Listening()
    ExperimentRun.create(copied, Settings.of(SMALL)).analyse(reporter)
    assert any("the training is made again" in line for line in reporter.said) or lost == "the history"
    assert digests(copied) == digests(small_run.path)
    assert check_study(copied) == []


@pytest.mark.parametrize("file", ["experiment.yaml", pytest.param("study.yaml", marks=pytest.mark.slow)])
def test_settings_that_are_lost_are_restored_from_the_training(copied, small_run, file):
    before = (copied / file).read_bytes()
    (copied / file).unlink()
    assert [one.file for one in check_study(copied)] == [file]
    ExperimentRun.open(copied).analyse(QuietReporter())
    assert (copied / file).read_bytes() == before
    assert digests(copied) == digests(small_run.path)


@pytest.mark.slow
def test_a_training_of_another_seed_does_not_change_the_settings(copied, small_run, tmp_path):
    other = ExperimentRun.create(tmp_path / "other", Settings.of({**SMALL, "seed": 1}))
    other.analyse(QuietReporter(), until="train")
    shutil.copy(other.file("training"), copied / "training.zarr.zip")
    assert check_study(copied)
    run = ExperimentRun.open(copied)
    assert run.settings.seed == 0
    run.analyse(QuietReporter())
    assert digests(copied) == digests(small_run.path)


def test_the_initial_weights_are_needed_to_train_only_and_must_be_those_of_the_begin(small_run, tmp_path):
    initial = shutil.copy(small_run.path / "checkpoints" / "step-000000016.zarr.zip", tmp_path / "initial.zarr.zip")
    settings = Settings.of({**SMALL, "start": 2, "n_nulls": 0, "n_processes": 0, "initial": str(initial)})
    run = ExperimentRun.create(tmp_path / "run", settings)
    run.analyse(QuietReporter(), until="train")
    initial.unlink()
    ExperimentRun.open(run.path).analyse(QuietReporter(), until="modes")
    shutil.rmtree(run.path / "trajectory")
    shutil.copy(small_run.path / "checkpoints" / "step-000000032.zarr.zip", initial)
    with pytest.raises(StorageError, match=r"the initial weights .*began; got others"):
        ExperimentRun.open(run.path).analyse(QuietReporter(), until="modes")
    shutil.copy(small_run.path / "checkpoints" / "step-000000016.zarr.zip", initial)
    ExperimentRun.open(run.path).analyse(QuietReporter(), until="modes")
    assert check_study(run.path) == []
