"""What the README shows runs as it stands, and prints what the README says."""

import re
from pathlib import Path

import pytest

from landscope.errors import LandscopeWarning
from landscope.study.settings import checked_settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
STUDY, KEEP = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SMALLER = {"n_nulls": 1, "n_processes": 1}  # the README shows the first of each
ROUNDING = 0.05  # machines add in different orders, and 2,000 steps carry that on


@pytest.fixture
def smaller(monkeypatch):
    """Sizes that the README does not name are small; what it names stays."""
    monkeypatch.setattr(
        "landscope.study.folder.checked_settings", lambda kind, values: checked_settings(kind, {**SMALLER, **values})
    )


def run(code, scope):
    exec(compile(code, "README.md", "exec"), scope)


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """The names of the README's first block after its training, which recording does not change."""
    monkeypatch.chdir(tmp_path)
    line = 'with study.record(optimizer, select="2.weight"):'
    assert line in STUDY
    scope = {}
    run(STUDY.partition("study.analyse()")[0].replace(line, "if True:"), scope)
    return scope


def test_a_study_prints_the_table_of_the_readme(capsys, monkeypatch, tmp_path, smaller):
    monkeypatch.chdir(tmp_path)
    run(STUDY, {})
    printed = capsys.readouterr().out
    assert printed.rstrip().endswith("report.html")
    assert (tmp_path / "runs/mine/report.html").exists()
    columns, *rows = re.search(r"```text\n(.*?)```", README, re.DOTALL).group(1).splitlines()
    assert columns.split() == ["psi", "psi_D"]
    for row in rows:
        name, *shown = re.split(r"  +", row)
        line = next(line for line in printed.splitlines() if line.startswith(f"{name}  "))
        found = [float(cell.partition(" ")[0]) for cell in re.split(r"  +", line)[1:3]]
        assert found == pytest.approx([float(value) for value in shown], abs=ROUNDING), name


def loss_of_the_old_task(capsys):
    _before, after = re.findall(r"^(?:old|new) +(\S+) +\S+$", capsys.readouterr().out, re.MULTILINE)
    return float(after)


def said(pattern):
    return float(re.search(pattern, README).group(1))


def test_the_memory_keeps_the_old_task_as_the_readme_says(capsys, trained):
    run(KEEP, trained)
    assert loss_of_the_old_task(capsys) == pytest.approx(said(r"old task ends at (\d+\.\d+);"), rel=ROUNDING)


def test_without_the_memory_the_old_task_is_lost_as_the_readme_says(capsys, trained):
    line = "with memory.training(optimizer):"
    assert line in KEEP
    with pytest.warns(LandscopeWarning, match="no step was taken inside `with memory.training"):
        run(KEEP.replace(line, "if True:"), trained)
    assert loss_of_the_old_task(capsys) == pytest.approx(
        said(r"without the memory it ends at (\d+\.\d+)\."), rel=ROUNDING
    )


def test_it_is_one_page():
    assert len(README.split()) <= 700
    assert sum(bool(line.strip()) for line in STUDY.splitlines()) <= 15
    assert sum(bool(line.strip()) for line in KEEP.splitlines()) <= 8  # three of them are the training


def test_links_lead_somewhere():
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
            assert target.startswith("http") or (ROOT / target).exists(), target
