"""What the README shows runs as it stands."""

import re
from pathlib import Path

import pytest

from landscope.errors import LandscopeWarning
from landscope.study.settings import checked_settings

ROOT = Path(__file__).parents[1]
SMALLER = {
    "n_nulls": 1, "n_processes": 1, "curvature_modes": 10, "response_modes": 3, "response_steps": 20,
    "learning_coefficient_steps": 100,
}  # fmt: skip


@pytest.fixture
def smaller(monkeypatch):
    """Sizes that the README does not name are small; what it names stays."""
    monkeypatch.setattr(
        "landscope.study.folder.checked_settings", lambda kind, values: checked_settings(kind, {**SMALLER, **values})
    )


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")  # the GPT-2 cannot be traced
def test_the_python_of_the_readme_runs(capsys, monkeypatch, tmp_path, smaller):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 7
    scope = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), scope)
    printed = capsys.readouterr().out
    assert re.search(
        r"in-sample +-?\d+\.\d\d .*\nsame modes, fresh data +-?\d+\.\d\d .*\n(.*\n)*shuffled increments", printed
    )
    assert (tmp_path / "runs/mine/report.html").exists()
    assert (tmp_path / "runs/gpt/report.html").exists()
    assert scope["study"].law["continued, with-replacement, same modes"].n_used > 2
    assert "variance" in scope["figure"].layout.yaxis.title.text
    assert re.search(r"psi = -?\d+\.\d\d\n", printed)
    assert re.search(r"psi along Hessian eigenvectors = -?\d+\.\d\d", printed)
    assert re.search(r"springs explain \d\.\d\d of ln L", printed)
    kept, learnt = re.search(r"old task (\d+)%, new task (\d+)% right", printed).groups()
    assert int(kept) > 85
    assert int(learnt) > 60
    assert (tmp_path / "report.html").exists()
    before, after = (float(value) for value in re.findall(r"^(?:old|new) +\S+ +(\S+)$", printed, re.MULTILINE)[-2:])
    assert after < before - 0.5  # of the new texts
    assert scope["memory"].rise.measured <= scope["memory"].rise.allowed


def test_keeping_a_model_takes_ten_lines():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    kept = [block for block in blocks if "ls.keep(" in block]
    for block in kept:
        lines = block.partition("# in place of a model that comes trained\n")[2] or block
        assert sum(bool(line.strip()) for line in lines.splitlines()) <= 10
    assert len(kept) == 2


def test_the_first_example_is_fifteen_lines():
    first = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    assert sum(bool(line.strip()) for line in first.splitlines()) <= 15


def test_without_the_penalty_of_the_readme_the_old_task_is_lost(capsys, monkeypatch, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    line = "with memory.training(optimizer):"
    (shown,) = [block for block in blocks if line in block]
    recorded, _, analysed = blocks[0].partition("study.analyse()")
    assert "print" in analysed
    scope = {}
    monkeypatch.chdir(tmp_path)
    exec(compile(recorded, "README.md", "exec"), scope)
    with pytest.warns(LandscopeWarning, match="no step was taken inside `with memory.training"):
        exec(compile(shown.replace(line, "if True:"), "README.md", "exec"), scope)
    kept = re.search(r"old task (\d+)%", capsys.readouterr().out).group(1)
    assert int(kept) < 80


def test_links_lead_somewhere():
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
            assert target.startswith("http") or (ROOT / target).exists(), target
