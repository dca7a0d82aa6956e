"""``landscope continual``: shows, keeps, adds, and refuses what makes no sense."""

import functools
import json

import pytest

from landscope.cli import main
from landscope.errors import LandscopeWarning
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.sequential import command as sequential

JOINT = ("--methods", "joint", "--max-epochs", "3", "--window-epochs", "1")
FEW = ("--max-epochs", "3", "--window-epochs", "1")


@pytest.fixture
def continual(capsys, tmp_path):
    """``landscope continual`` in this process: exit status, output, and errors."""

    def command(*words, folder=tmp_path / "continual"):
        with pytest.raises(SystemExit) as stopped:
            main(["continual", "--train-samples", "200", "--out", str(folder), *words])
        printed = capsys.readouterr()
        return stopped.value.code, printed.out, printed.err

    return command


@pytest.fixture
def short(monkeypatch):
    """Tasks are learnt for a few steps, in place of 500 at least: for tests that do not look at what is learnt."""
    prepare = functools.partial(sequential.prepare_class_tasks, window_steps=20, pretraining_epochs=3)
    monkeypatch.setattr(sequential, "prepare_class_tasks", prepare)


def test_the_command_shows_keeps_and_adds(continual, tmp_path):
    folder = tmp_path / "continual"
    code, out, err = continual("--json", "--methods", "l2:0.1")
    assert code == 0, err
    plain, held = json.loads(out)["results"]
    assert (plain["method"], plain["strength"], held["name"]) == ("none", None, "distance from w1, λ = 0.1")
    assert held["average_error"] == pytest.approx(sum(held["errors"][-1]) / 2)
    assert held["numbers_stored"][-1] == held["weights"] == 2500
    assert len(held["minibatches"]) == 2
    page = (folder / "report.html").read_text()
    assert "Method: distance from w1" in page
    assert "http" not in page.split("</script>")[-1]
    before = (folder / "continual-none.zarr.zip").stat().st_mtime_ns
    code, out, err = continual("--methods", "ldc-floor")
    assert code == 0, err
    assert "Errors after the last task" in out
    page = (folder / "report.html").read_text()
    assert "Method: distance from w1" in page
    assert "Method: LDC with floor, λ = 4, 200 modes a task" in page
    assert "Classes 0,1; then 2,3; all layers pretrained on all classes; each task until its training error is" in page
    assert {path.name for path in folder.glob("continual-*")} == {
        "continual-none.zarr.zip", "continual-l2-0.1.zarr.zip", "continual-ldc-floor-4-200.zarr.zip",
    }  # fmt: skip
    assert (folder / "continual-none.zarr.zip").stat().st_mtime_ns == before
    for words, there in ((["--tasks", "4,5;6,7"], "[[0, 1], [2, 3]]"), (["--max-epochs", "3"], "max_epochs 50")):
        code, _, err = continual(*words)
        assert code == 1
        assert f"got some of {there}" in err.replace("tasks ", "")


@pytest.mark.parametrize(("words", "says"), [
    (["--tasks", "0,1"], "two tasks or more"), (["--tasks", "a;b"], "classes as whole numbers"),
    (["--methods", "hessian"], "a strength for hessian"), (["--tasks", "0,1;1,2"], "each class in one"),
    (["--methods", "magic"], "magic"), (["--data", "modular-addition"], "images"),
    (["--methods", "ewc:much"], "ewc:strength"), (["--methods", "ewc:-1"], "above 0"),
    (["--momentum", "0.9"], "--momentum"), (["--methods", "joint:3"], "joint:3"),
    (["--loss", "mse", "--methods", "kfac:10"], "cross-entropy"), (["--n-modes", "0"], "n_modes"),
])  # fmt: skip
def test_the_command_refuses_what_makes_no_sense(continual, words, says):
    code, _, err = continual(*words)
    assert code == 2, err
    assert says in err
    assert "Traceback" not in err


def test_the_length_of_training_is_chosen(continual, tmp_path):
    code, out, err = continual("--json", "--methods", "l2:0.1", "--max-epochs", "1", "--window-epochs", "600")
    assert code == 0, err
    for result in json.loads(out)["results"]:
        assert result["minibatches"] == [601, 601]  # each task has fewer samples than one minibatch
    page = (tmp_path / "continual" / "report.html").read_text()
    assert "at most 1 epochs, and a window of 600 more" in page


@pytest.mark.usefixtures("short")
def test_a_refused_command_leaves_the_folder_free(continual):
    assert continual("--tasks", "0,1;1,2")[0] == 2
    assert continual("--tasks", "0,1;77,2")[0] == 2
    assert continual(*JOINT)[0] == 0


def test_settings_that_the_command_does_not_take_are_refused_from_a_file_too(continual, tmp_path):
    (tmp_path / "my.yaml").write_text("momentum: 0.9\n")
    code, _, err = continual("--config", str(tmp_path / "my.yaml"))
    assert (code, "momentum" in err) == (2, True)


@pytest.mark.usefixtures("short")
def test_a_folder_of_tasks_is_no_folder_of_a_run(continual, capsys, tmp_path):
    folder = tmp_path / "continual"
    assert continual(*JOINT)[0] == 0
    page = (folder / "report.html").read_text()
    for words, says in (
        (["report", str(folder)], ("no study.yaml", "one of landscope continual")),
        (["claims", str(folder)], ("no study.yaml", "one of landscope continual")),
        (["run", "--train-samples", "200", "--out", str(folder)], ("one of landscope continual",)),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 1
        refusal = capsys.readouterr().err
        assert any(reason in refusal for reason in says)
    assert (folder / "report.html").read_text() == page
    ExperimentFolder.create(tmp_path / "run", Settings(train_samples=200))
    code, _, err = continual(folder=tmp_path / "run")
    assert (code, "one of landscope run" in err) == (1, True)


def test_a_folder_of_something_else_is_left_alone(continual, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    code, _, _ = continual(folder=tmp_path)
    assert code == 1
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.usefixtures("short")
def test_methods_without_modes_run_once_whatever_number_is_asked_for(continual, tmp_path):
    assert continual("--methods", "l2:0.1", *FEW)[0] == 0
    assert continual("--methods", "l2:0.1", "--n-modes", "30", *FEW)[0] == 0
    assert len(list((tmp_path / "continual").glob("continual-l2*"))) == 1


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("content", ["{", None])
def test_the_results_know_the_tasks_whose_note_is_lost(continual, tmp_path, content):
    assert continual(*JOINT)[0] == 0
    note = tmp_path / "continual" / "numbers.json"
    before = note.read_text()
    note.unlink() if content is None else note.write_text(content)
    code, _, err = continual("--methods", "l2:0.1", *FEW[:2])
    assert (code, "another window_epochs" in err) == (1, True)
    with pytest.warns(LandscopeWarning, match=r"numbers.json is missing, damaged"):
        assert continual(*JOINT)[0] == 0
    assert note.read_text() == before
