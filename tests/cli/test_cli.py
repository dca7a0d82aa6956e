"""The command line: thin, quick, quiet, and every command documented."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from landscope.cli import main
from landscope.cli.reproduction import _print_results
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures import findings
from landscope.reproduction.figures.figure import Plan, Section
from landscope.reproduction.reproduce import Reproduction

ROOT = Path(__file__).parents[2]
COMMANDS = ("run", "train", "modes", "flatness", "law", "report", "reproduce", "claims", "continual")


def process(*arguments):
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "landscope", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def landscope(capsys):
    """The command in this process: the same arguments, exit status and output."""

    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        written = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, left.value.code, written.out, written.err)

    return call


def test_the_version_comes_quickly_and_without_torch():
    probe = "import sys, landscope.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0
    for _ in range(3):  # a busy machine may be slow once
        started = time.perf_counter()
        answer = process("--version")
        seconds = time.perf_counter() - started
        if seconds < 2:
            break
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", answer.stdout)
    assert answer.stderr == ""
    assert seconds < 2


@pytest.mark.parametrize(("own", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_sleep_unless_the_user_says_otherwise(own, expected, landscope, monkeypatch):
    """OpenMP reads the variable when torch is loaded, which is later: see the test before."""
    monkeypatch.setenv("OMP_WAIT_POLICY", own or "")
    if own is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    landscope("--version")
    assert os.environ["OMP_WAIT_POLICY"] == expected


def test_a_mistake_ends_the_process_with_one_line():
    answer = process("run", "--learnig-rate", 1)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert answer.stderr.startswith("error: ")
    assert len(answer.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_and_stands_in_the_site(command, landscope):
    answer = landscope(command, "--help")
    assert answer.returncode == 0
    assert f"Example: landscope {command}" in " ".join(answer.stdout.split()) or "Example:" in answer.stdout
    assert f"landscope {command}" in (ROOT / "docs/howto/commands.md").read_text()


def test_commands_are_all_known(landscope):
    answer = landscope("--help")
    assert all(re.search(rf"^│ {command} ", answer.stdout, re.MULTILINE) for command in COMMANDS)


def test_printed_settings_read_back(tmp_path, landscope):
    answer = landscope("run", "--print-config", "--data", "mnist", "--hidden", 30, 20, "--fit-modes", 2, 90)
    settings = Settings.of(yaml.safe_load(answer.stdout))
    assert (settings.data, settings.hidden, settings.fit_modes) == ("mnist", (30, 20), (2, 90))
    file = tmp_path / "s.yaml"
    file.write_text(answer.stdout)
    again = landscope("run", "--print-config", "--config", file, "--seed", 3)
    changed = Settings.of(yaml.safe_load(again.stdout))
    assert changed == settings.model_copy(update={"seed": 3})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--learnig-rate", "1"], "--learning-rate"),
        (["run", "--learning-rate", "-1"], "learning_rate"),
        (["run", "--start", "soon"], "start"),
        (["run", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["claims", "nowhere"], "no study.yaml"),
        (["report", "nowhere"], "no study.yaml"),
        (["reproduce", "fig2", "--seeds", "1"], "at least 2 seeds"),
        (["reproduce", "fig2", "--pairs", "fifty"], "--pairs 50:0.1"),
        (["reproduce", "fig2", "--batch-size", "30"], "--pairs"),
        (["reproduce", "fig9"], "fig9"),
        (["reproduce", "all", "--pairs", "50:0.1"], "--pairs with fig1"),
        (["reproduce", "all", "--seeds", "1"], "at least 2 seeds"),
        (["reproduce", "fig6", "--optimizer", "adam", "--seed", "3"], "--optimizer, --seed"),
        (["run", "--nesterov"], "momentum above 0"),
        (["run", "--network", "gpt2", "--equal-norm"], "equal_norm"),
        (["runn"], "runn"),
    ],
)
def test_mistakes_get_one_clear_line(arguments, message, tmp_path, landscope, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = landscope(*arguments)
    assert answer.returncode in (1, 2)
    assert answer.stdout == ""
    assert message in answer.stderr
    assert "Traceback" not in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_commands_one_after_another(tmp_path, landscope):
    options = ["--hidden", 8, 8, "--batch-size", 100, "--start", 8, "--window-epochs", 4, "--fit-modes", 2, 30,
               "--spectrum-ranks", 3, 20, "--flatness-modes", 30, "--n-nulls", 2, "--noise-modes", 8,
               "--basis-modes", 10, "--langevin-steps", 100, "--n-processes", 1, "--curvature-modes", 10,
               "--learning-coefficient-steps", 100]  # fmt: skip
    run = tmp_path / "run"
    trained = landscope("train", *options, "--out", run, "--json")
    assert json.loads(trained.stdout)["artefact"].endswith("training.zarr.zip")
    assert not (run / "modes.zarr.zip").exists()
    for command, artefact in (
        ("modes", "modes.zarr.zip"),
        ("flatness", "flatness.zarr.zip"),
        ("law", "exponents-in-sample.zarr.zip"),
    ):
        answer = landscope(command, run)
        assert answer.returncode == 0, answer.stderr
        assert (run / artefact).exists()
        assert artefact in answer.stdout
        assert answer.stdout.startswith("Ready:" if command != "law" else "            "), answer.stdout
    report = json.loads(landscope("report", run, "--json").stdout)
    verdicts = {"reproduced", "not reproduced", "contested", "undecided", "not measured"}
    assert set(report["verdicts"].values()) <= verdicts
    for command, claim in (("noise", "cooling"), ("controls", "inverse_einstein")):
        assert claim not in report["verdicts"]
        report = json.loads(landscope(command, run, "--json").stdout)
        assert report["verdicts"][claim] in verdicts
    assert (run / "report.html").exists()
    claims = json.loads(landscope("claims", run, "--json").stdout)
    assert {claim["claim"]: claim["verdict"] for claim in claims} == report["verdicts"]
    again = landscope("run", *options, "--out", run)
    assert "contested" in again.stdout or "reproduced" in again.stdout
    assert "Report:" in again.stdout
    assert again.stdout.index("psi_tau") < again.stdout.index("verdict")


def test_a_figure_that_judges_no_claim_shows_its_tables(capsys):
    plan = Plan(Path("nowhere"), Settings(), 2, quick=True)
    section = Section(
        "findings", "Is the relation real?", "Two of six.", ["training", "psi"], [["perceptron", "nan"]], [], {}
    )
    _print_results(Reproduction(plan, [], [section]))
    shown = capsys.readouterr().out
    assert "Is the relation real?" in shown
    assert "perceptron" in shown
    assert "not measured" in shown
    assert "Two of six." in shown


def test_quick_findings_say_what_is_left_out():
    plan = Plan(Path("nowhere"), Settings(), 2, quick=True)
    assert "Left out at quick sizes: perceptron, alpha = 0.2, reshuffled" in findings._left_out(plan)
    assert findings._left_out(dataclasses.replace(plan, quick=False)) == ""
