"""A recording that is shorter than its training noted is named at every opening, with the way on."""

import shutil

import pytest
import torch

import landscope as ls
import small_study as small
from landscope.errors import InputError, LandscopeWarning, StorageError
from landscope.study.check import check_study
from landscope.study.checkpoints import Checkpoints

LAST = 60


class Killed(BaseException):
    """Stands for a kill."""


def state_at(step):
    model = small.network()
    optimizer = small.sgd(model)
    small.train(model, optimizer, last=step)
    return model, optimizer


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A recording that was killed after a flush at step 48, and what it was at step 32."""
    folder = tmp_path_factory.mktemp("reach")
    study, model, optimizer = small.begin(folder / "s", n_nulls=0)

    def after_step(step):
        if step in (32, 48):
            recorder.flush()
        if step == 32:
            shutil.copytree(folder / "s" / "trajectory", folder / "at-32")
        if step == 50:
            raise Killed

    with pytest.raises(Killed), study.record(optimizer, small.SELECT, checkpoints=lambda step: step == 48) as recorder:
        small.train(model, optimizer, after_step=after_step)
    return folder


@pytest.fixture
def folder(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "f")
    return tmp_path / "f"


def older(folder):
    shutil.rmtree(folder / "s" / "trajectory")
    shutil.copytree(folder / "at-32", folder / "s" / "trajectory")


def deleted(folder):
    shutil.rmtree(folder / "s" / "trajectory")


@pytest.mark.parametrize(("damage", "got"), [(older, "32 rows up to step 32"), (deleted, "no rows")])
def test_rows_that_were_promised_and_are_not_there_are_named(folder, damage, got):
    damage(folder)
    model, optimizer = state_at(48)
    study = ls.Study(folder / "s", model, small.CRITERION, small.samples())
    for use in (
        lambda: study.trajectory,
        lambda: study.analyse(progress=False),
        lambda: study.record(optimizer, small.SELECT, first_step=49, checkpoints=lambda _: False),
    ):
        with pytest.raises(
            StorageError, match=rf"the (48|49|50) rows up to step .* were recorded .*{got}.*first_step="
        ):
            use()
    (found,) = [one for one in check_study(folder / "s") if one.file == "trajectory"]
    assert got in found.problem
    assert "record" in found.remedy


def test_a_shorter_recording_goes_on_from_where_it_ends(folder):
    whole, model, optimizer = small.begin(folder / "whole", n_nulls=0)
    with whole.record(optimizer, small.SELECT, checkpoints=lambda step: step == 48):
        small.train(model, optimizer, last=LAST)
    older(folder)
    model, optimizer = state_at(32)
    study = ls.Study(folder / "s", model, small.CRITERION, small.samples())
    with study.record(optimizer, small.SELECT, first_step=33, checkpoints=lambda step: step == 48):
        small.train(model, optimizer, first=33, last=LAST)
    assert torch.equal(study.trajectory.weights, whole.trajectory.weights)
    assert check_study(folder / "s") == []


def test_a_recording_that_goes_on_from_an_earlier_step_promises_no_more_than_it_has(folder):
    model, optimizer = state_at(20)
    study = ls.Study(folder / "s", model, small.CRITERION, small.samples())
    with pytest.raises(Killed), study.record(optimizer, small.SELECT, first_step=21, checkpoints=lambda _: False):
        raise Killed
    assert len(study.trajectory) == 20


def test_facts_of_the_training_that_were_deleted_are_named(folder):
    (folder / "s" / "training.json").unlink()
    with pytest.raises(StorageError, match=r"training.json; got no such file"):
        _ = small.opened(folder / "s").trajectory
    assert [one.file for one in check_study(folder / "s")] == ["training.json"]


def test_models_and_facts_of_another_training_are_named(tmp_path):
    for name, first in (("a", 1), ("b", 1001)):
        study, model, optimizer = small.begin(tmp_path / name)
        with study.record(optimizer, small.SELECT, first_step=1, checkpoints=lambda step: step == 24):
            small.train(model, optimizer, first=first, last=first + 23)
    shutil.copytree(tmp_path / "a", tmp_path / "whole")
    file = Checkpoints(tmp_path / "a" / "checkpoints").file(24)
    shutil.copy(Checkpoints(tmp_path / "b" / "checkpoints").file(24), file)
    assert [(one.file, one.problem) for one in check_study(tmp_path / "a")] == [
        (f"checkpoints/{file.name}", "of another training")
    ]
    file.unlink()
    assert [one.problem for one in check_study(tmp_path / "a")] == ["missing"]
    shutil.copy(tmp_path / "b" / "training.json", tmp_path / "whole" / "training.json")
    with pytest.raises(StorageError, match="another recording"):
        _ = small.opened(tmp_path / "whole").trajectory
    assert check_study(tmp_path / "whole")


def test_a_recorder_that_shall_go_on_names_a_missing_folder(tmp_path):
    model, optimizer = state_at(0)
    with pytest.raises(InputError, match=r"a recording to go on with at .*got no such folder"):
        ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "t", first_step=7, resume=True)
    ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "t", first_step=7)


def test_settings_that_were_lost_are_taken_again_where_the_results_fit_them(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s", n_nulls=0, n_processes=0)
    with study.record(optimizer, small.SELECT, checkpoints=lambda step: step == LAST):
        small.train(model, optimizer, last=LAST)
    study.analyse(until="modes", progress=False)
    before = study.folder.heading("modes").digest
    (tmp_path / "s" / "study.yaml").unlink()
    with pytest.raises(StorageError, match="not those of the results"):
        small.begin(tmp_path / "s", n_nulls=1, n_processes=0)
    with pytest.warns(LandscopeWarning, match="the results were made under the same"):
        again, _, _ = small.begin(tmp_path / "s", n_nulls=0, n_processes=0)
    again.analyse(until="modes", progress=False)
    assert again.folder.heading("modes").digest == before
