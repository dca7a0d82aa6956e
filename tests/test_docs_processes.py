"""The scripts of docs/howto/large-models.md give the same numbers in all processes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/howto/large-models.md").read_text()
SCRIPTS = [script for script in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "init_process_group" in script]


def test_there_is_a_script_for_each_kind_of_training():
    assert ["DistributedDataParallel" in SCRIPTS[0], "fully_shard(model)" in SCRIPTS[1]] == [True, True]


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=["data parallel", "sharded"])
def test_the_script_runs_under_torchrun(script, tmp_path):
    (tmp_path / "script.py").write_text(script)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    # Both may write before either ends its line.
    said = re.findall(r"rank (\d): \w+ (\d+\.\d{6}), loss (\d+\.\d{6}), penalty (\d+\.\d{6})", done.stdout)
    found = {rank: numbers for rank, *numbers in said}
    assert set(found) == {"0", "1"}, done.stderr[-2000:]
    assert found["0"] == found["1"]
    numbers = [float(number) for number in found["0"]]
    assert numbers[0] > 0
    assert numbers[1] < 0.5
    assert numbers[2] > 0
