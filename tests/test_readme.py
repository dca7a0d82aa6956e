"""What the README shows runs as it stands."""

import json
import re
from pathlib import Path

import pytest
from benchmarks import table

ROOT = Path(__file__).parents[1]


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")  # the GPT-2 cannot be traced
def test_the_python_of_the_readme_runs(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 7
    scope = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), scope)
    printed = capsys.readouterr().out
    assert re.search(r"psi = -?\d+\.\d\d \[-?\d+\.\d\d, -?\d+\.\d\d\] from \d+ modes", printed)
    assert re.search(r"psi of the null = -?\d+\.\d\d", printed)
    assert re.search(r"psi = -?\d+\.\d\d, next window -?\d+\.\d\d, null -?\d+\.\d\d", printed)
    kept, learnt = re.search(r"old task (\d+)%, new task (\d+)% right", printed).groups()
    assert int(kept) > 85
    assert int(learnt) > 70
    assert re.search(r"F of a GPT-2: tensor", printed)
    assert re.search(r"psi = -?\d+\.\d\d = -?\d+\.\d\d \(noise strength\) \+ -?\d+\.\d\d \(memory\)", printed)
    assert re.search(r"psi along the Hessian = -?\d+\.\d\d", printed)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["gpt2"])  # the Trainer's own folder


def test_without_the_penalty_of_the_readme_the_old_task_is_lost(capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (shown,) = [block for block in blocks if "TaskMemory" in block]
    line = "with memory.training(optimizer):  # records, and holds what was learnt"
    assert line in shown
    scope = {}
    for block in (blocks[0], shown.replace(line, "if True:")):
        exec(compile(block, "README.md", "exec"), scope)
    kept = re.search(r"old task (\d+)%", capsys.readouterr().out).group(1)
    assert int(kept) < 80


def test_links_lead_somewhere():
    for page in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
            assert target.startswith("http") or (ROOT / target).exists(), target


def test_the_tables_of_speed_are_what_the_benchmark_wrote(tmp_path):
    results = json.loads((ROOT / "docs/results/benchmark.json").read_text())
    assert (ROOT / "docs/results/benchmark.md").read_text() == table.markdown(results)
    page = tmp_path / "README.md"
    page.write_text((ROOT / "README.md").read_text())
    table.put_into(page, table.summary(results))
    assert page.read_text() == (ROOT / "README.md").read_text()
