"""The command line on a user's own study: a function makes it, and the page needs no model."""

import json
import shutil
import sys

import pytest
import torch

import small_study as small
from landscope.cli import main

MODULE = """
import landscope as ls
import small_study as small


def make_study(folder):
    return ls.Study(folder, small.network(), small.CRITERION, small.samples(), evaluate=small.evaluate)


def make_here():
    return make_study("runs/mine")


def make_from_parts(folder):
    from my_parts import make

    return make(folder)


def make_imported(folder):
    study = make_study(folder)
    study.use_checkpoints({step: small.network() for step in range(3)})
    return study


def make_nothing(folder):
    return "a study"


not_a_function = 3
"""


@pytest.fixture(scope="module")
def recorded_once(tmp_path_factory):
    return small.record(tmp_path_factory.mktemp("cli") / "mine", n_nulls=1).path


@pytest.fixture
def folder(recorded_once, tmp_path, monkeypatch):
    """A recording at runs/mine, and a module that makes its study, in the current folder."""
    shutil.copytree(recorded_once, tmp_path / "runs" / "mine")
    (tmp_path / "my_study.py").write_text(MODULE)
    (tmp_path / "my_parts.py").write_text("from my_study import make_study as make")
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "runs" / "mine"
    sys.modules.pop("my_study", None)
    sys.modules.pop("my_parts", None)


@pytest.fixture
def landscope(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        written = capsys.readouterr()
        return left.value.code, written.out, written.err

    return call


def test_the_function_may_import_from_its_folder_when_it_is_called(folder, landscope):
    before = list(sys.path)
    code, out, err = landscope("modes", folder, "--study", "my_study:make_from_parts", "--json")
    assert (code, err) == (0, ""), out
    assert sys.path == before


def test_a_recording_is_analysed_stage_by_stage_and_reported_without_its_model(folder, landscope):
    code, out, err = landscope("modes", "runs/mine", "--study", "my_study:make_study", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["artefact"].endswith("modes.zarr.zip")
    code, out, err = landscope("report", "runs/mine")
    assert (code, out) == (1, "")
    assert "error: Expected the result" in err
    code, out, err = landscope("analyse", "runs/mine", "--study", "my_study:make_study", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["window"] == [181, 240]
    assert found["verdicts"]["psi"] in {"reproduced", "not reproduced", "contested", "undecided", "not measured"}
    (folder / "report.html").unlink()
    code, out, err = landscope("report", "runs/mine", "--json")
    assert (code, json.loads(out)["report"]) == (0, "runs/mine/report.html")
    assert "landscope: mine" in (folder / "report.html").read_text()
    code, out, _ = landscope("claims", "runs/mine", "--json")
    assert code == 0
    assert {claim["claim"]: claim["verdict"] for claim in json.loads(out)} == found["verdicts"]


@pytest.mark.slow
def test_later_stages_and_a_function_without_arguments(folder, landscope):
    code, out, _ = landscope("analyse", "runs/mine", "--study", "my_study:make_here", "--noise", "--json")
    assert code == 0
    assert "minibatch_springs" in json.loads(out)["verdicts"]
    code, out, _ = landscope("controls", folder, "--study", "my_study:make_here")
    assert code == 0
    assert "Report:" in out
    assert (folder / "basis-hessian.zarr.zip").exists()


def test_flags_name_the_further_stages_as_in_python(folder, landscope):
    code, _, err = landscope("analyse", folder, "--study", "my_study:make_study", "--controls", "--json")
    assert (code, err) == (0, "")
    assert (folder / "basis-hessian.zarr.zip").exists()
    assert not (folder / "noise-velocity.zarr.zip").exists()


def test_a_folder_that_is_not_there_is_not_made(folder, landscope):
    code, out, err = landscope("analyse", "runs/nowhere", "--study", "my_study:make_study")
    assert (code, out) == (1, "")
    assert "Expected a recorded training in runs/nowhere; got no such folder" in err
    assert not (folder.parent / "nowhere").exists()
    code, _, err = landscope("analyse", "runs/new", "--study", "my_study:make_imported")
    assert "at least 21 recorded steps" in err  # what a function brings in itself is analysed
    assert (folder.parent / "new" / "trajectory").exists()


@pytest.mark.parametrize(
    ("maker", "message"),
    [
        ("my_study", "--study as module:function"),
        ("my_studies:make_study", "a module my_studies that can be imported"),
        ("my_study:make", "a function make in my_study; got none"),
        ("my_study:not_a_function", "a function not_a_function in my_study"),
        ("my_study:make_nothing", "a function that returns a Study; got str"),
    ],
)
def test_makers_that_make_no_study(folder, landscope, maker, message):
    code, out, err = landscope("analyse", folder, "--study", maker)
    assert (code, out) == (2, "")
    assert message in err
    assert "def make_study(folder)" in err


def test_workers_share_the_analysis(folder, landscope):
    code, out, err = landscope("flatness", folder, "--study", "my_study:make_study", "--jobs", 2, "--json")
    assert (code, err) == (0, ""), out
    code, _, err = landscope("law", folder, "--study", "my_study:make_study", "--executor", "rays")
    assert code == 2
    assert "ray:ADDRESS" in err


def test_a_study_elsewhere_and_a_study_without_its_maker(folder, landscope, tmp_path):
    shutil.copytree(folder, tmp_path / "other")
    code, _, err = landscope("analyse", "other", "--study", "my_study:make_here")
    assert code == 2
    assert "Let the function take the folder" in err
    code, _, err = landscope("analyse", folder)
    assert code == 1
    assert "--study module:function" in err


def test_checkpoints_are_taken_and_what_they_offer_is_said(folder, capsys):
    shutil.rmtree(folder)
    files = folder.parent / "files"
    files.mkdir()
    for step in (4, 8, 16):
        torch.save({"state_dict": small.network().state_dict(), "global_step": step}, files / f"epoch={step}.ckpt")
    words = ["import", str(folder), str(files), "--study", "my_study:make_study"]
    with pytest.raises(SystemExit) as exit_:
        main([*words, "--select", "0.*", "--json"])
    assert exit_.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["steps"] == [4, 8, 16]
    assert found["offers"][0] == "3 checkpoints: steps 4 to 16, 4 to 8 steps apart."
    assert "Too few for modes and exponents: a window needs 21 rows" in found["offers"][-1]
    with pytest.raises(SystemExit) as exit_:
        main([*words[:2], str(files / "nowhere"), *words[3:]])
    assert exit_.value.code == 1
    assert "nowhere; got nothing" in capsys.readouterr().err
