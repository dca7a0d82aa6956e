"""``landscope run`` from nothing: wall time by stage, and memory at its peak."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch

from benchmarks.measure import Row
from benchmarks.subject import Subject

__all__ = ["end_to_end"]


def end_to_end(subject: Subject, device: str) -> list[Row]:  # noqa: ARG001 - groups share a form
    """The command a user types, in a process of its own."""
    data = "mnist" if subject.name == "MNIST" else "digits"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "landscope", "run", "--data", data, "--out", str(out)]
        started = time.perf_counter()
        threads = str(torch.get_num_threads())
        child = subprocess.Popen(
            command, env=os.environ | {"OMP_NUM_THREADS": threads}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        process, highest = psutil.Process(child.pid), 0
        while child.poll() is None:
            with contextlib.suppress(psutil.Error):  # it may end between two looks
                highest = max(highest, process.memory_info().rss)
            time.sleep(0.05)
        taken = time.perf_counter() - started
        assert child.returncode == 0, f"landscope run ended with {child.returncode}"
        timings = json.loads((out / "timings.json").read_text())
    rows = [Row.of(f"landscope run --data {data}", "s", taken)]
    rows += [Row.of(f"landscope run --data {data}: {stage}", "s", float(spent)) for stage, spent in timings.items()]
    return [*rows, Row.of(f"landscope run --data {data}: peak memory", "GiB", highest / 2**30)]
