"""A run of a built-in network: it resumes to the same bits wherever it was killed, and refuses other settings."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

import landscope as ls
from landscope.errors import InputError, StorageError
from landscope.progress import QuietReporter
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.experiment.train import is_log_spaced
from landscope.storage import RowStore
from landscope.training_history import TrainingHistory
from small_run import SMALL, assert_same

ARTEFACTS = (
    "training", "rounding", "spectrum", "modes", "statistics", "statistics-fresh", "flatness", "profiles", "plane",
    "profile-fits", "drawn-modes", "exponents-shuffled-0", "exponents-in-sample", "exponents-fresh",
)  # fmt: skip


def contents(path):
    """Every number of a run."""
    found = {}
    for name in ARTEFACTS:
        result = ls.load(path / f"{name}.zarr.zip")
        found |= {f"{name}.{key}": value for key, value in result.tensors().items()}
        found |= {f"{name}.{key}": value for key, value in result.attributes().items() if key != "provenance"}
    found["trajectory"] = ls.open_trajectory(path / "trajectory").weights
    found["saved"] = ls.Study(path).saved_steps
    return found


def begun(folder, **changes):
    return ExperimentRun.create(folder, Settings.of({**SMALL, **changes}))


def test_a_run_is_a_study_of_two_windows_after_the_start(small_run):
    study = small_run.study
    assert study.window.steps[[0, -1]].tolist() == [20 * 15 + 1, 26 * 15]
    assert study.fresh.steps[[0, -1]].tolist() == [26 * 15 + 1, 32 * 15]
    assert len(study.window) == len(study.fresh) == 6 * 15
    assert small_run.results.window.steps.tolist() == study.window.steps.tolist()
    summary = small_run.results.summary()
    assert (summary["window"], summary["fresh"], summary["window_rows"]) == ([301, 390], [391, 480], 90)
    assert (summary["optimizer"], summary["batch_size"], summary["steps_per_epoch"]) == ("SGD", 100, 15)


def test_the_saved_model_of_w0_has_the_loss_that_was_measured_while_training(small_run):
    history = small_run.load("training", TrainingHistory)
    at_w0 = float(history.train_loss[history.at(390)])
    assert small_run.results.summary()["loss_at_w0"] == pytest.approx(at_w0, rel=1e-5)
    assert small_run.results.summary()["test_error_at_w0"] == float(history.test_error[history.at(390)])


def test_log_spaced_checkpoints_start_at_step_0_and_the_ends_of_windows_are_among_them(small_run):
    log_spaced = [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384]
    assert small_run.study.saved_steps == sorted([*log_spaced, 300, 390, 480])
    assert [step for step in range(400) if is_log_spaced(step)] == log_spaced[1:]


def test_the_window_starts_at_the_first_epoch_without_a_training_error(tmp_path):
    run = begun(tmp_path / "run", start="zero-error", window_epochs=2, hidden=[30, 30])
    run.analyse(QuietReporter(), until="train")
    errors = run.load("training", TrainingHistory).train_error.tolist()
    first = errors.index(0)
    assert len(errors) == first + 1 + 2 * 2
    assert run.study.window.steps[0] == (first + 1) * 15 + 1


def test_other_settings_and_other_folders_are_refused(small_run, tmp_path):
    with pytest.raises(StorageError, match="seed: 0 there, 1 asked"):
        ExperimentRun.create(small_run.path, Settings.of({**SMALL, "seed": 1}))
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(StorageError, match="other files"):
        ExperimentRun.create(tmp_path, Settings())
    with pytest.raises(StorageError, match=r"no experiment\.yaml"):
        ExperimentRun.open(tmp_path)


def test_a_damaged_settings_file_is_named(small_run, tmp_path):
    content = yaml.safe_load((small_run.path / "experiment.yaml").read_text())
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump({**content, "settings": {"x": 1}}))
    with pytest.raises(StorageError, match=r"the settings of a run in .*experiment\.yaml"):
        ExperimentRun.open(tmp_path)


def test_settings_may_change_until_something_was_done(tmp_path):
    begun(tmp_path / "run", seed=1)
    assert begun(tmp_path / "run", seed=2).settings.seed == 2
    assert ls.Study(tmp_path / "run").folder.settings.seed == 2


def test_a_run_that_was_stopped_before_its_study_was_made_goes_on(tmp_path):
    begun(tmp_path / "run")
    (tmp_path / "run" / "study.yaml").unlink()
    begun(tmp_path / "run")
    assert ls.Study(tmp_path / "run").folder.settings.n_nulls == SMALL["n_nulls"]


def test_an_unfinished_training_has_no_study(tmp_path):
    with pytest.raises(StorageError, match="a finished training"):
        _ = begun(tmp_path / "run").study


def test_a_second_process_is_kept_out(small_run):
    with small_run.locked(), pytest.raises(StorageError, match="another process"):
        ExperimentRun.open(small_run.path).analyse(QuietReporter())


def command(folder):
    config = folder.parent / "settings.yaml"
    config.write_text(yaml.safe_dump({**SMALL, "start": 60, "window_epochs": 20, "flatness_modes": 140, "n_nulls": 1}))
    return [sys.executable, "-m", "landscope", "run", "--config", str(config), "--out", str(folder), "--json"]


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_bits(tmp_path):
    whole = subprocess.run(command(tmp_path / "whole"), capture_output=True, text=True, check=False)
    assert whole.returncode == 0, whole.stderr
    milestones = (
        "experiment.yaml",
        "trajectory/committed.json",
        "trajectory/latest.json",
        "spectrum.zarr.zip",
        "flatness-from-1.zarr.zip",
        "exponents-shuffled-0.zarr.zip",
    )
    for milestone in milestones:
        process = subprocess.Popen(command(tmp_path / "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not (tmp_path / "killed" / milestone).exists() and time.monotonic() < deadline:
            if process.poll() is not None:
                break
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    last = subprocess.run(command(tmp_path / "killed"), capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    assert_same(contents(tmp_path / "whole"), contents(tmp_path / "killed"))


def test_training_resumes_inside_the_search_and_inside_the_windows(tmp_path, monkeypatch):
    """Stop the training after chosen epochs by an error, and compare with an undisturbed one."""
    from landscope.reproduction.experiment import train as stage

    undisturbed, disturbed = (begun(tmp_path / name, momentum=0.5) for name in "ab")
    undisturbed.analyse(QuietReporter(), until="train")
    monkeypatch.setattr(stage, "_SAVE_EVERY_SECONDS", 0.0)
    original = stage.evaluate
    for epochs in (7, 15, 5):  # ends in the search, in the window, and in the fresh data
        calls = 0

        def evaluate(*arguments, limit=2 * epochs):
            nonlocal calls
            calls += 1
            if calls > limit:
                raise KeyboardInterrupt
            return original(*arguments)

        monkeypatch.setattr(stage, "evaluate", evaluate)
        with pytest.raises(KeyboardInterrupt):
            disturbed.analyse(QuietReporter(), until="train")
    monkeypatch.setattr(stage, "evaluate", original)
    disturbed.analyse(QuietReporter(), until="train")
    first, second = (run.load("training", TrainingHistory) for run in (undisturbed, disturbed))
    assert torch.equal(first.minibatch_loss, second.minibatch_loss)
    assert torch.equal(first.test_error, second.test_error)
    weights = [ls.open_trajectory(run.path / "trajectory").weights for run in (undisturbed, disturbed)]
    assert torch.equal(*weights)
    assert undisturbed.study.saved_steps == disturbed.study.saved_steps


def test_ctrl_c_leaves_a_resumable_run_and_says_so(tmp_path):
    # A shell that runs the tests in the background makes them ignore Ctrl-C, and every process that they start.
    heeding = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    heeding += "from landscope.cli import main; main(sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", heeding, *command(tmp_path / "run")[3:]],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "trajectory").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "give the same command to continue" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_full_disk_is_said_and_the_run_continues_later(tmp_path):
    """A limit on file size stands for a full disk: the writer gets the same kind of error."""
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)); "
        "from landscope.cli import main; main(sys.argv[1:])"
    )
    arguments = command(tmp_path / "run")[3:]
    broken = subprocess.run([sys.executable, "-c", limited, *arguments], capture_output=True, text=True, check=False)
    assert broken.returncode == 1
    assert "Traceback" not in broken.stderr
    assert "error: Expected to" in broken.stderr
    assert subprocess.run(command(tmp_path / "run"), capture_output=True, check=False).returncode == 0


def test_an_unreached_exploration_phase_is_said(tmp_path):
    run = begun(tmp_path / "run", start="zero-error", max_epochs=2, n_nulls=0)
    run.analyse(QuietReporter())
    assert run.results.summary()["exploration_reached"] is False
    assert all("training error was not zero" in judgement.sentence for judgement in run.results.claims)
    page = run.report().read_text()
    assert "not the paper&#39;s exploration phase" in page or "not the paper's exploration phase" in page


def test_a_run_without_any_flatness_within_reach_still_ends_in_a_page(tmp_path, monkeypatch):
    """Censored modes are data: the law is not measured, and the page says so."""
    module = sys.modules["landscope.landscape.flatness"]
    monkeypatch.setattr(module, "_REACH", 1e-6)
    monkeypatch.setattr(module, "_START", 5e-9)
    run = begun(tmp_path / "run", n_nulls=1)
    run.analyse(QuietReporter())
    summary = run.results.summary()
    assert summary["psi"] != summary["psi"]
    assert summary["n_censored"] == 59
    verdicts = {judgement.claim.key: judgement.verdict for judgement in run.results.claims}
    assert verdicts["psi"] == "not measured"
    assert "too few modes have a measurable flatness" in run.report().read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"select": "nope"}, "no match"),
        ({"window_epochs": 1, "batch_size": 100}, "steps of a window"),
    ],
)
def test_what_cannot_work_fails_before_training(tmp_path, change, message):
    run = begun(tmp_path / "run", **change)
    with pytest.raises(InputError, match=message):
        run.analyse(QuietReporter())
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize("damage", ["deleted", "shorter", "state", "model", ""])
def test_a_stopped_training_begins_again_where_something_is_lost_and_goes_on_otherwise(
    small_run, tmp_path, monkeypatch, damage
):
    from landscope.reproduction.experiment import train as stage

    monkeypatch.setattr(stage, "_SAVE_EVERY_SECONDS", 0.0)
    disturbed = begun(tmp_path / "run")
    original, calls = stage.evaluate, 0

    def evaluate(*arguments):
        nonlocal calls
        calls += 1
        if calls > 2 * 24:  # inside the window, which begins after epoch 20
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(stage, "evaluate", evaluate)
    with pytest.raises(KeyboardInterrupt):
        disturbed.analyse(QuietReporter(), until="train")
    monkeypatch.setattr(stage, "evaluate", original)
    if damage == "deleted":
        shutil.rmtree(disturbed.path / "trajectory")
    elif damage == "shorter":
        RowStore.open(disturbed.path / "trajectory", writable=True).truncate(7)
    elif damage == "state":
        disturbed.path.joinpath("training-state.zarr.zip").write_bytes(b"")
    elif damage == "model":
        file = sorted((disturbed.path / "checkpoints").glob("*.zarr.zip"))[2]
        file.write_bytes(file.read_bytes()[:-99])
    said = []
    reporter = QuietReporter()
    monkeypatch.setattr(reporter, "note", said.append)
    disturbed.analyse(reporter, until="train")
    assert any("the training begins again" in line for line in said) is bool(damage)
    weights = [ls.open_trajectory(run.path / "trajectory").weights for run in (small_run, disturbed)]
    assert torch.equal(*weights)
