"""The script of docs/processes.md gives the same numbers in all processes."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_script_runs_under_torchrun(tmp_path):
    (script,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/processes.md").read_text(), re.DOTALL)
    (tmp_path / "script.py").write_text(script)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    # Both may write before either ends its line.
    said = re.findall(r"rank (\d): variance (\d+\.\d{6}), loss (\d+\.\d{6}), penalty (\d+\.\d{6})", done.stdout)
    found = {rank: numbers for rank, *numbers in said}
    assert set(found) == {"0", "1"}, done.stderr[-2000:]
    assert found["0"] == found["1"]
    numbers = [float(number) for number in found["0"]]
    assert numbers[0] > 0
    assert numbers[1] < 0.5
    assert numbers[2] > 0
