"""Every small JSON file of a study says what it was made from: that of another one is named, and made again."""

import shutil

import pytest

import small_study as small
from landscope.errors import StorageError
from landscope.files.checked_json import read_checked, write_checked
from landscope.study.check import check_study
from landscope.study.folder import StudyFolder

FEW = {"n_nulls": 0, "n_processes": 0, "flatness_modes": 12, "fit_modes": (2, 12), "spectrum_ranks": (3, 12)}
NOTES = ("timings", "not-measured", "continued", "continued-ends", "continued-steps", "summary")


@pytest.fixture(scope="module")
def reported(recorded_folder, tmp_path_factory):
    """A study with its page and notes of trainings that went on, and the notes of one under other settings."""
    place = tmp_path_factory.mktemp("reported")
    folder, other = (shutil.copytree(recorded_folder, place / name) for name in ("own", "other"))
    study = small.opened(folder, **FEW)
    study.analyse(progress=False)
    for name in ("continued", "continued-ends"):
        study.folder.note(name, {"rule": True})
    study.folder.note("continued-steps", {"reshuffled": {"rule": True, "gradient": "", "length": 1.0}})
    study.report()
    other_study = small.opened(other, **FEW, seed=1)
    for name in NOTES:
        other_study.folder.note(name, {"rule": True})
    return folder, other


@pytest.fixture
def copies(reported, tmp_path):
    return [shutil.copytree(folder, tmp_path / str(number)) for number, folder in enumerate(reported)]


def test_the_list_is_that_of_the_folder(copies):
    assert set(StudyFolder.open(copies[0]).notes()) == set(NOTES)
    assert check_study(copies[0]) == []


@pytest.mark.parametrize("name", [name for name in NOTES if name != "timings"])
def test_a_note_of_other_settings_is_named_and_not_read(copies, name):
    own, other = (folder / f"{name}.json" for folder in copies)
    shutil.copy(other, own)
    assert f"{name}.json" in {one.file for one in check_study(copies[0])}
    assert StudyFolder.open(copies[0]).read_note(name) == {}


def changed(file, **values):
    write_checked(file, {**read_checked(file), **values})


def test_a_summary_with_another_number_is_named(copies):
    file = copies[0] / "summary.json"
    changed(file, psi=7.0)
    assert [(one.file, one.problem) for one in check_study(copies[0])] == [
        ("summary.json", "psi is not that of the results")
    ]
    small.opened(copies[0]).report()
    assert check_study(copies[0]) == []


@pytest.mark.parametrize("name", ["continued", "continued-ends", "continued-steps"])
def test_a_note_of_another_train_on_is_named_and_dropped(copies, name):
    file = copies[0] / f"{name}.json"
    told = read_checked(file)
    assert told["study"]["made_with"]["loss"]
    told["study"]["made_with"]["loss"][0] *= 1.01
    changed(file, study=told["study"])
    assert [(one.file, one.problem) for one in check_study(copies[0])] == [
        (f"{name}.json", "made with another loss or other data")
    ]
    small.opened(copies[0]).analyse(progress=False)
    assert not file.exists()


def test_a_damaged_note_of_numbers_is_named(copies):
    (copies[0] / "numbers.json").write_text("{")
    assert [one.file for one in check_study(copies[0])] == ["numbers.json"]


def test_a_note_is_changed_and_deleted_in_one_place(tmp_path):
    folder = StudyFolder.create(tmp_path / "s", {})
    folder.change_note("training", {"a": 1, "b": 2})
    folder.change_note("training", {"a": None, "c": [3]})
    assert folder.read_note("training") == {"b": 2, "c": [3]}
    before = (tmp_path / "s" / "training.json").stat().st_mtime_ns
    folder.change_note("training", {"a": None, "b": 2})
    assert (tmp_path / "s" / "training.json").stat().st_mtime_ns == before
    folder.remove_note("training")
    folder.remove_note("training")
    assert folder.read_note("training") == {}
    (tmp_path / "s" / "study.yaml").unlink()
    with pytest.raises(StorageError, match="deleted or moved"):
        folder.change_note("training", {"a": 1})
