"""A run on disk: it resumes to the same bits wherever it was killed, and refuses what does not belong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from landscope.report.run_page import write_report
from landscope.study.analyse import load_profiles
from landscope.study.measured import judgements_of

import landscope as ls
from landscope.errors import StorageError
from landscope.progress import QuietReporter
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.experiment.train import windows
from landscope.reproduction.pooling import reproduce
from landscope.study.folder import RunFolder
from landscope.study.pipeline import STAGES, run_stages
from landscope.training_history import TrainingHistory
from small_run import SMALL, assert_same

ARTEFACTS = (
    "training", "spectrum", "modes", "motion", "motion-next", "flatness", "profiles", "profile-fits",
    "exponents-shuffled-0", "exponents-in-sample", "exponents-next-window",
)  # fmt: skip


def contents(path):
    """Every number of a run."""
    found = {}
    for name in ARTEFACTS:
        result = ls.load(path / f"{name}.zarr.zip")
        found |= {f"{name}.{key}": value for key, value in result.tensors().items()}
        found |= {f"{name}.{key}": value for key, value in result.attributes().items() if key != "provenance"}
    found["trajectory"] = ls.open_trajectory(path / "trajectory").weights
    return found


def test_a_run_measures_what_the_library_measures(small_run):
    history = small_run.load("training", TrainingHistory)
    window, next_window = windows(small_run, history)
    assert len(window) == len(next_window) == 6 * 15
    assert int(window.steps[0]) == 20 * 15 + 1
    modes = ls.principal_modes(window)
    saved = small_run.load("modes", ls.directions.Directions)
    assert torch.equal(modes.variance, saved.variance)
    widths = small_run.load("flatness", ls.landscape.Flatness)
    assert len(widths.width) == 80
    fitted = ls.load(small_run.file("exponents-in-sample"))
    next_fitted = ls.load(small_run.file("exponents-next-window"))
    law = ls.variance_flatness(saved, window, widths, (2, 60))
    assert fitted.psi == pytest.approx(law.psi, rel=1e-9)
    fresh = ls.variance_flatness(saved, next_window, widths, (2, 60))
    assert next_fitted.psi == pytest.approx(fresh.psi, rel=1e-9)
    steps = window.weights.double().diff(dim=0) @ saved.directions.T
    strength = ls.law.fit_power_law(widths.width[fitted.used[:80]], steps.square().mean(dim=0)[fitted.used])
    assert fitted.psi_D == pytest.approx(-strength.exponent, rel=1e-9)
    assert fitted.psi_tau == pytest.approx(fitted.psi - fitted.psi_D)


def test_profiles_cross_where_flatness_says(small_run):
    drawn, _, ranks = load_profiles(small_run)
    widths = small_run.load("flatness", ls.landscape.Flatness)
    for row, rank in enumerate(ranks):
        level = torch.log(drawn.loss[row] / drawn.loss0) - 1
        crossings = (level[:-1] * level[1:] < 0).sum()
        assert int(crossings) == 2
        inside = drawn.displacements[row][level < 0]
        assert float(widths.left[rank - 1]) <= float(inside.min())
        assert float(inside.max()) <= float(widths.right[rank - 1])


def test_log_spaced_checkpoints_start_at_step_0(small_run):
    names = sorted(path.name for path in (small_run.path / "checkpoints").iterdir())
    steps = [int(name.split("-")[1].split(".")[0]) for name in names]
    assert steps == [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384]


def test_finished_stages_are_not_done_again(small_run):
    before = {
        path: path.stat().st_mtime_ns for path in small_run.path.rglob("*") if path.is_file() and path.name != ".lock"
    }
    run_stages(small_run, QuietReporter())
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_damaged_artefact_is_named(small_run, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(small_run.path, copy)
    (copy / "law.zarr.zip").unlink()
    content = (copy / "flatness.zarr.zip").read_bytes()
    (copy / "flatness.zarr.zip").write_bytes(content[:200])
    with pytest.raises(StorageError, match=r"flatness\.zarr\.zip"):
        run_stages(RunFolder.open(copy), QuietReporter())


def test_other_settings_and_other_folders_are_refused(small_run, tmp_path):
    with pytest.raises(StorageError, match="seed: 0 there, 1 asked"):
        RunFolder.create(small_run.path, Settings.of({**SMALL, "seed": 1}))
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(StorageError, match="other files"):
        RunFolder.create(tmp_path, Settings())
    with pytest.raises(StorageError, match=r"no run\.yaml"):
        RunFolder.open(tmp_path)
    content = yaml.safe_load((small_run.path / "run.yaml").read_text())
    for change, message in (({"format": 9}, "format 9"), ({"settings": {"x": 1}}, "settings of a run")):
        folder = tmp_path / message.replace(" ", "")
        folder.mkdir()
        (folder / "run.yaml").write_text(yaml.safe_dump({**content, **change}))
        with pytest.raises(StorageError, match=message):
            RunFolder.open(folder)


def test_a_second_process_is_kept_out(small_run):
    with small_run.locked():
        other = subprocess.run(
            [sys.executable, "-m", "landscope", "law", str(small_run.path)], capture_output=True, text=True, check=False
        )
    assert other.returncode == 1
    assert "another process at work" in other.stderr


def command(folder):
    config = folder.parent / "settings.yaml"
    config.write_text(yaml.safe_dump({**SMALL, "start": 60, "window_epochs": 20, "flatness_modes": 140, "n_nulls": 1}))
    return [sys.executable, "-m", "landscope", "run", "--config", str(config), "--out", str(folder), "--json"]


def test_killed_at_any_moment_it_ends_with_the_same_bits(tmp_path):
    whole = subprocess.run(command(tmp_path / "whole"), capture_output=True, text=True, check=False)
    assert whole.returncode == 0, whole.stderr
    milestones = (
        "run.yaml",
        "trajectory/committed.json",
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
    """Stop the training stage after chosen epochs by an error, and compare with an undisturbed one."""
    from landscope.reproduction.experiment import train as stage

    monkeypatch.setattr(stage, "_SAVE_EVERY_SECONDS", 0.0)
    undisturbed = RunFolder.create(tmp_path / "a", Settings.of({**SMALL, "momentum": 0.5}))
    run_stages(undisturbed, QuietReporter(), until="train")
    disturbed = RunFolder.create(tmp_path / "b", Settings.of({**SMALL, "momentum": 0.5}))
    original = stage.evaluate
    for stop_after in (7, 22, 29):
        calls = 0

        def evaluate(*arguments, limit=stop_after):
            nonlocal calls
            calls += 1
            if calls == 5:
                raise KeyboardInterrupt
            return original(*arguments)

        monkeypatch.setattr(stage, "evaluate", evaluate)
        with pytest.raises(KeyboardInterrupt):
            run_stages(disturbed, QuietReporter(), until="train")
    monkeypatch.setattr(stage, "evaluate", original)
    run_stages(disturbed, QuietReporter(), until="train")
    first, second = (run.load("training", TrainingHistory) for run in (undisturbed, disturbed))
    assert torch.equal(first.minibatch_loss, second.minibatch_loss)
    assert torch.equal(first.test_error, second.test_error)
    weights = [ls.open_trajectory(run.path / "trajectory").weights for run in (undisturbed, disturbed)]
    assert torch.equal(*weights)


def test_ctrl_c_leaves_a_resumable_run_and_says_so(tmp_path):
    # A shell that runs the tests in the background has them ignore Ctrl-C, and all that they start.
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
    assert "give the same command to go on" in errors
    assert "Traceback" not in errors


def test_a_full_disk_is_told_and_the_run_goes_on_later(tmp_path):
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
    settings = {**SMALL, "start": "zero-error", "max_epochs": 2, "n_nulls": 0}
    run = RunFolder.create(tmp_path / "run", Settings.of(settings))
    run_stages(run, QuietReporter())
    assert run.summary()["exploration_reached"] is False
    assert all("training error was not zero" in judgement.sentence for judgement in judgements_of(run))
    page = write_report(run).read_text()
    assert "not the paper&#39;s exploration phase" in page or "not the paper's exploration phase" in page


def test_verdicts_are_computed_again_not_read(small_run, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(small_run.path, copy)
    items = json.loads((copy / "measurements-law.json").read_text())
    for item in items.values():
        item |= {"verdict": "reproduced", "value": 1e6, "interval": [None, None]}
    (copy / "measurements-law.json").write_text(json.dumps(items))
    assert {judgement.verdict for judgement in judgements_of(RunFolder.open(copy))} == {"not reproduced"}


def test_reproducing_pools_seeds_and_settings(tmp_path):
    settings = Settings.of({**SMALL, "n_nulls": 1, "flatness_modes": 60})
    pooled = reproduce(tmp_path / "r", settings, seeds=2, pairs=[(100, 0.2), (50, 0.1)], reporter=QuietReporter())
    assert [(entry.batch_size, entry.learning_rate) for entry in pooled] == [(100, 0.2), (50, 0.1)]
    summaries = [RunFolder.open(path).summary() for path in pooled[0].folders]
    assert pooled[0].values["psi"] == [summary["psi"] for summary in summaries]
    assert len(pooled[0].rows["shuffled increments"]["psi_tau"]) == 2
    table = json.loads((tmp_path / "r" / "table.json").read_text())
    low, high = table[0]["intervals"]["psi"]
    assert low < sum(pooled[0].values["psi"]) / 2 < high
    assert "| 100 | 0.2 | 2 |" in (tmp_path / "r" / "table.md").read_text()
    from landscope.reproduction.pages.reproduction_page import write_reproduction_report

    page = write_reproduction_report(tmp_path / "r", pooled, "fig2", "digits").read_text()
    assert "B = 100, α = 0.2" in page


def test_stages_are_the_arrows():
    assert [stage.name for stage in STAGES] == ["train", "modes", "flatness", "law", "noise", "controls"]
    assert Path(ls.__file__).parent.name == "landscope"


def test_a_run_without_any_flatness_within_reach_still_ends_in_a_page(tmp_path, monkeypatch):
    """Censored modes are data: the law is not measured, and the page says so."""
    module = sys.modules["landscope.landscape.flatness"]
    monkeypatch.setattr(module, "_REACH", 1e-6)
    monkeypatch.setattr(module, "_START", 5e-9)
    run = RunFolder.create(tmp_path / "run", Settings.of({**SMALL, "n_nulls": 1}))
    run_stages(run, QuietReporter())
    assert run.summary()["psi"] is None
    assert run.summary()["n_censored"] == 59
    verdicts = {judgement.claim.key: judgement.verdict for judgement in judgements_of(run)}
    assert verdicts["psi"] == "not measured"
    assert "could not be fitted" in write_report(run).read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"select": "nope"}, "no match"),
        ({"window_epochs": 1, "batch_size": 100}, "steps of a window"),
    ],
)
def test_what_cannot_work_fails_before_training(tmp_path, change, message):
    run = RunFolder.create(tmp_path / "run", Settings.of({**SMALL, **change}))
    started = time.monotonic()
    with pytest.raises(ls.errors.InputError, match=message):
        run_stages(run, QuietReporter())
    assert time.monotonic() - started < 20
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_run_of_another_version_is_told_apart(small_run, tmp_path):
    import shutil

    from landscope.study.analyse import SUMMARY_NAMES

    assert set(small_run.summary()) == set(SUMMARY_NAMES)
    copy = tmp_path / "copy"
    shutil.copytree(small_run.path, copy)
    summary = json.loads((copy / "summary.json").read_text())
    del summary["gamma_cross"]
    (copy / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(StorageError, match="gamma_cross"):
        write_report(RunFolder.open(copy))
