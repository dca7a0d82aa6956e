"""Killed at any point, a recording and an analysis end with the bits of uninterrupted ones."""

import shutil

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import landscope as ls
import small_study as small
from landscope.errors import InputError, LandscopeWarning, StorageError
from landscope.storage import ResultFolder
from landscope.study.checkpoints import Checkpoints, CheckpointSchedule
from small_run import assert_same


class Killed(BaseException):
    """Stands for a kill."""


def kill_at(steps):
    def after_step(step):
        if step == steps:
            raise Killed

    return after_step


def state_at(step):
    """The model and the optimiser of a step, as a checkpoint of the user's own gives them."""
    model = small.network()
    optimizer = small.sgd(model)
    small.train(model, optimizer, last=step)
    return model, optimizer


@pytest.mark.parametrize(("killed", "resumed"), [(10, 7), (70, 64), (170, 150), (170, 3)])
def test_a_killed_recording_goes_on_to_the_same_rows_and_models(recorded, tmp_path, killed, resumed):
    study, model, optimizer = small.begin(tmp_path / "killed")
    with pytest.raises(Killed), study.record(optimizer, small.SELECT):
        small.train(model, optimizer, after_step=kill_at(killed))
    model, optimizer = state_at(resumed)
    study = ls.Study(tmp_path / "killed", model, small.CRITERION, small.samples())
    with study.record(optimizer, small.SELECT, first_step=resumed + 1):
        small.train(model, optimizer, first=resumed + 1)
    assert_same(small.contents(small.opened(recorded)), small.contents(study))


def test_a_training_in_two_sessions_keeps_the_last_model_of_the_second(recorded, tmp_path):
    study, model, optimizer = small.begin(tmp_path / "twice")
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer, last=101)
    assert study.saved_steps[-1] == 101
    with study.record(optimizer, small.SELECT, first_step=102):
        small.train(model, optimizer, first=102)
    assert_same(small.contents(small.opened(recorded)), small.contents(study))


def test_a_resumed_recording_leaves_no_gap(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s")
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer, last=30)
    with pytest.raises(InputError, match="first_step of at most 31"):
        study.record(optimizer, small.SELECT, first_step=40)


def test_a_model_that_was_not_restored_deletes_nothing(recorded):
    before = small.contents(small.opened(recorded))
    model, optimizer = state_at(0)
    study = ls.Study(recorded, model, small.CRITERION, small.samples())
    with (
        pytest.raises(InputError, match=r"the weights of step 100, .*Load your checkpoint of step 100"),
        study.record(optimizer, small.SELECT, first_step=101),
    ):
        pass
    assert_same(before, small.contents(small.opened(recorded)))


@pytest.mark.parametrize("last", [30, 32])
def test_a_folder_that_is_deleted_while_recording_is_missed(tmp_path, last):
    study, model, optimizer = small.begin(tmp_path / "s")

    def delete_at_29(step):
        if step == 29:
            shutil.rmtree(tmp_path / "s")

    with pytest.raises(StorageError, match="no such folder"), study.record(optimizer, small.SELECT):
        small.train(model, optimizer, last=last, after_step=delete_at_29)
    assert not (tmp_path / "s").exists()


def test_results_are_not_written_where_the_study_was_deleted(recorded):
    study = small.opened(recorded)
    modes = ls.principal_modes(study.window, 3)
    shutil.rmtree(recorded)
    for write in (lambda: study.folder.save("modes", modes), lambda: study.folder.note("timings", {})):
        with pytest.raises(StorageError, match="deleted or moved"):
            write()
    assert not recorded.exists()


def test_a_training_that_failed_before_its_first_row_may_begin_again(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s")
    with pytest.raises(ZeroDivisionError), study.record(optimizer, small.SELECT):
        _ = 1 / 0
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer, last=30)
    assert len(study.trajectory) == 30


def test_asking_to_record_again_deletes_nothing_before_the_training_begins(recorded):
    before = small.contents(small.opened(recorded))
    model, optimizer = state_at(0)
    study = ls.Study(recorded, model, small.CRITERION, small.samples())
    study.record(optimizer, small.SELECT, first_step=1, every=7)
    assert_same(before, small.contents(small.opened(recorded)))
    assert study._analysis.facts.every == 1


def test_nobody_begins_to_record_while_another_records(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s")
    other, _, others = small.begin(tmp_path / "s")
    waiting = other.record(others, small.SELECT)
    with study.record(optimizer, small.SELECT):
        with pytest.raises(StorageError, match="another process"):
            other.record(others, small.SELECT)
        with pytest.raises(StorageError, match="another process"), waiting:
            pass
        small.train(model, optimizer, last=30)
    assert len(study.trajectory) == 30


def test_a_training_from_the_first_step_on_replaces_the_first_model_too(recorded):
    model, optimizer = state_at(3)
    study = ls.Study(recorded, model, small.CRITERION, small.samples())
    with study.record(optimizer, small.SELECT, first_step=1):
        small.train(model, optimizer, last=30)
    first, at_3 = study.risk(step=0).w0, state_at(3)[0]
    assert torch.equal(first, at_3[0].weight.flatten())


def test_a_trainer_that_loads_its_best_model_leaves_a_study_that_can_be_analysed(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s", n_nulls=0)
    best = {name: value.clone() for name, value in model.state_dict().items()}
    recorder = study.record(optimizer, small.SELECT).__enter__()
    small.train(model, optimizer, last=101)
    model.load_state_dict(best)
    with pytest.warns(LandscopeWarning, match="no longer those of step 101"):
        recorder.close()
    assert study.saved_steps[-1] == study.window.steps[-1] == 96
    study.analyse(progress=False, until="flatness")


def test_losses_on_saved_models_are_measured_again_after_more_training(recorded):
    model, optimizer = state_at(240)
    study = ls.Study(recorded, model, small.CRITERION, small.samples(), evaluate=small.evaluate, n_nulls=0)
    study.analyse(progress=False)
    study.discard_results()
    with study.record(optimizer, small.SELECT, first_step=241):
        small.train(model, optimizer, first=241, last=300)
    study.analyse(progress=False)
    assert ls.load(study.folder.file("training")).steps[-1] == 300
    assert study.summary()["train_error_at_w0"] == small.evaluate(model.eval())["train_error"]


def test_what_was_read_during_a_training_is_read_again_after_it(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s")
    with study.record(optimizer, small.SELECT) as recorder:
        small.train(model, optimizer, last=101)
        recorder.flush()
        assert study.trajectory.steps[-1] == 101
        assert study.window.steps[-1] == 96
    assert study.window.steps[-1] == 101
    with study.record(optimizer, small.SELECT, first_step=102):
        small.train(model, optimizer, first=102, last=150)
    assert study.trajectory.steps[-1] == study.window.steps[-1] == 150


def test_a_recording_in_progress_is_not_analysed_and_keeps_others_out(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s")
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer, last=30)
        with pytest.raises(InputError, match="after the with block"):
            study.analyse(progress=False)
        with pytest.raises(StorageError, match="another process"):
            small.opened(tmp_path / "s").analyse(progress=False)
    study.analyse(progress=False, until="modes")
    with pytest.raises(StorageError, match="results of modes"):
        study.record(optimizer, small.SELECT, first_step=31)


def other_samples():
    inputs, labels = small.samples()
    return inputs, labels.roll(1)


@pytest.mark.filterwarnings("ignore:The data of this study have other samples")
@pytest.mark.parametrize("until", ["flatness", "pieces"])
def test_results_of_other_data_are_not_mixed(recorded, monkeypatch, until):
    monkeypatch.setattr("landscope.study.stages.flatness._PIECE", 32)
    study = small.opened(recorded)
    if until == "pieces":
        with pytest.raises(Killed):
            die_after(study, "flatness-from-1", monkeypatch)
    else:
        study.analyse(progress=False, until="flatness")
    other = ls.Study(recorded, small.network(), small.CRITERION, other_samples())
    modes = study.modes.directions
    with pytest.warns(LandscopeWarning, match=r"the loss at w0 was 0\.\d+ and is .*; .* measured again"):
        other.analyse(progress=False, until="flatness")
    assert torch.equal(other.modes.directions, modes)
    assert other.flatness.loss0 == pytest.approx(float(other.risk()(other.risk().w0)), rel=1e-6)
    other.analyse(progress=False, until="flatness")  # its own results now


def die_after(study, name, monkeypatch):
    """Analyse, and kill it when a result was saved."""
    save = ResultFolder.save

    def save_and_die(self, saved, result, *identity):
        save(self, saved, result, *identity)
        if saved == name:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ResultFolder, "save", save_and_die)
        study.analyse(progress=False)


def loader(batch_size):
    return DataLoader(TensorDataset(*small.samples()), batch_size=batch_size)


def test_minibatches_of_another_size_are_not_mixed(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s", batch_size=None, n_nulls=0, n_processes=0)
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer)
    ls.Study(tmp_path / "s", model, small.CRITERION, loader(12)).analyse(progress=False)
    by_16 = ls.Study(tmp_path / "s", model, small.CRITERION, loader(16))
    by_16.analyse(progress=False, noise=True)  # nothing was made with the 12
    by_12 = ls.Study(tmp_path / "s", model, small.CRITERION, loader(12))
    with pytest.raises(StorageError, match=r"batch_size 16, as of the results in .*; got 12"):
        by_12.analyse(progress=False, noise=True)
    by_16.analyse(progress=False, noise=True)
    small.opened(tmp_path / "s").analyse(progress=False, noise=True)


def test_settings_that_another_process_changed_are_refused(recorded):
    ours, theirs = small.opened(recorded), small.opened(recorded)
    with theirs.folder.locked(), pytest.raises(StorageError, match="another process"):
        small.opened(recorded, seed=5)
    small.opened(recorded, seed=5)
    with pytest.raises(StorageError, match=r"the settings with which the study .* was opened; got seed: 5 there, 0"):
        ours.analyse(progress=False)


@pytest.mark.slow
def test_a_killed_analysis_goes_on_to_the_same_bits(recorded, analysed, monkeypatch):
    """Kill it after every single result, and start it again in a new process's state."""
    save = ResultFolder.save

    def save_and_die(self, name, result, *identity):
        is_new = not self.has(name)
        save(self, name, result, *identity)
        if is_new:
            raise Killed

    monkeypatch.setattr(ResultFolder, "save", save_and_die)
    kills, ended = 0, False
    while not ended:
        study = small.opened(recorded, evaluate=small.evaluate, steps_per_epoch=10)
        try:
            study.analyse(noise=True, controls=True, dynamics=True, progress=False)
            ended = True
        except Killed:
            kills += 1
    assert kills == len(study.folder.names()) + 1  # and the piece of the flatness, which is gone
    assert_same(small.contents(analysed), small.contents(study))
    assert repr(analysed.measurements) == repr(study.measurements)
    assert analysed.not_measured == study.not_measured


def test_a_file_that_a_kill_left_half_written_binds_nobody(recorded):
    (recorded / ".modes.zarr.zip.0123.partial").write_bytes(b"half")
    study = small.opened(recorded, n_nulls=1)
    assert not study.folder.has_results
    model, optimizer = state_at(240)
    with ls.Study(recorded, model, small.CRITERION, small.samples()).record(optimizer, small.SELECT, first_step=241):
        small.train(model, optimizer, first=241, last=242)
    assert small.opened(recorded).saved_steps[-1] == 242


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("first", [1, 50])
def test_kept_steps_are_few_and_even_and_do_not_depend_on_kills(tmp_path, every, first):
    model = torch.nn.Linear(1, 1)

    def kept(path, kills):
        checkpoints = Checkpoints(tmp_path / path)
        schedule = None
        for step in range(first, 400):
            if schedule is None or step in kills:
                schedule = CheckpointSchedule(checkpoints, 8, first=first, every=every, always=(77, 160))
            if step % every == 0:
                schedule.see(step, model)
            even = [saved for saved in checkpoints.steps() if saved not in (77, 160)]
            assert len(even) <= 20
        return checkpoints.steps()

    steps = kept("whole", ())
    assert steps == kept("killed", (first + 3, 81, 161, 300))
    even = [step for step in steps if step not in (77, 160)] + ([160] if 160 % every == 0 else [])
    gaps = {later - earlier for earlier, later in zip(sorted(even)[:-1], sorted(even)[1:], strict=True)}
    assert 10 <= len(even) <= 20
    assert len(gaps) <= 2  # where 160 lies between
    assert all(step % every == 0 for step in even)


def test_kept_models_fit_a_number_of_bytes(tmp_path):
    model = torch.nn.Linear(1, 1)
    checkpoints = Checkpoints(tmp_path)
    schedule = CheckpointSchedule(checkpoints, 8, max_bytes=40, always=(9,))
    for step in range(1, 100):
        schedule.see(step, model)
        assert len([saved for saved in checkpoints.steps() if saved != 9]) <= 5
    assert 9 in checkpoints.steps()
    large = CheckpointSchedule(Checkpoints(tmp_path / "large"), 2**40)
    for step in range(1, 20):
        large.see(step, model)
    assert len(Checkpoints(tmp_path / "large").steps()) <= 2


def test_models_are_kept_where_the_user_says(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s", window=(31, 55))
    with study.record(optimizer, small.SELECT, checkpoints=lambda step: step % 20 == 0):
        small.train(model, optimizer, last=70)
    assert study.saved_steps == [0, 20, 40, 55, 60, 70]


def test_rows_and_models_at_every_third_step(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s")
    with study.record(optimizer, small.SELECT, every=3):
        small.train(model, optimizer, last=200)
    assert study.trajectory.steps.tolist() == list(range(3, 201, 3))
    assert set(study.saved_steps) <= {0, *range(3, 201, 3)}
    assert study.window.steps[-1] == study.saved_steps[-1]
    study.analyse(progress=False)
    assert study.law.in_sample.n_used > 5
    shutil.rmtree(study.path)


@pytest.mark.parametrize("rows", [1, 30])
def test_a_recording_goes_on_with_the_gaps_between_its_rows(tmp_path, rows):
    study, model, optimizer = small.begin(tmp_path / "s")
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer, last=rows)
    with pytest.raises(InputError, match=r"every=1, as in .* got every=5.* Go on with every=1"):
        study.record(optimizer, small.SELECT, every=5, first_step=rows + 1)
    assert len(study.trajectory) == rows


def test_a_recorder_that_never_began_leaves_no_recording(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s")
    study.record(optimizer, small.SELECT)
    small.train(model, optimizer, last=30)
    with pytest.raises(InputError, match=r"got a recording without a step.*with study\.record"):
        study.analyse(progress=False)
