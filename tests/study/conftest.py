"""One small study of a user's model, recorded once and analysed once."""

import shutil

import pytest

import small_study
from landscope.study.stages import edge


@pytest.fixture(scope="session", autouse=True)
def few_sharpnesses():
    """The sharpness over the training takes a third of the time of the dynamics; two saved models show all of it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(edge, "_CHECKPOINTS", 2)
        yield


@pytest.fixture(scope="session")
def recorded_folder(tmp_path_factory):
    """The folder of a recorded training; tests copy it."""
    return small_study.record(tmp_path_factory.mktemp("study") / "recorded").path


@pytest.fixture
def recorded(recorded_folder, tmp_path):
    """A folder with a recording and nothing else."""
    return shutil.copytree(recorded_folder, tmp_path / "recorded")


@pytest.fixture(scope="session")
def analysed(recorded_folder, tmp_path_factory):
    """A study with every result that can be made without training on."""
    folder = shutil.copytree(recorded_folder, tmp_path_factory.mktemp("study") / "analysed")
    study = small_study.opened(folder, evaluate=small_study.evaluate, steps_per_epoch=10)
    study.analyse(noise=True, controls=True, dynamics=True, progress=False)
    return study
