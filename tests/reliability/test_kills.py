"""Killed at random moments, every kind of work ends with the numbers of an undisturbed one, and leaves no process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "kills.py"
KILLS = {"run": 106, "analyse": 42, "reproduce": 24, "record": 60, "memory": 40, "trainer": 30}


@pytest.mark.slow
@pytest.mark.parametrize("scenario", KILLS)
def test_work_that_is_killed_ends_with_the_same_numbers(tmp_path, scenario):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.run(
        [sys.executable, str(SCRIPT), scenario, str(KILLS[scenario]), "3", str(tmp_path)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-2000:]
    found = json.loads(process.stdout.splitlines()[-1])
    assert found["kills"] >= KILLS[scenario]
    assert found["results"] > 0
    assert found["refused"] == []
    assert found["different"] == []
    assert found["orphans"] == 0
