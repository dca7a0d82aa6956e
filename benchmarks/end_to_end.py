"""``landscope run`` from nothing: wall time by stage, alone and beside a busy process, and memory at its peak."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import psutil
import torch

from benchmarks.measure import Row, ratio
from benchmarks.subject import Subject

__all__ = ["end_to_end"]


@dataclasses.dataclass(frozen=True)
class _Taken:
    """What one command took.

    Args:
        seconds: Wall time from start to end.
        stages: Wall time of each stage.
        memory: Largest memory, in bytes.
    """

    seconds: float
    stages: dict[str, float]
    memory: int


def end_to_end(subject: Subject) -> list[Row]:
    """The command a user types, in a process of its own; then once more while another process keeps a core busy."""
    data = "mnist" if subject.name == "MNIST" else "digits"
    name = f"landscope run --data {data}"
    alone = _run(data)
    with _busy_process():
        beside = _run(data)
    return [
        Row.of(name, "s", alone.seconds),
        *(Row.of(f"{name}: {stage}", "s", spent) for stage, spent in alone.stages.items()),
        Row.of(f"{name}: peak memory", "GiB", alone.memory / 2**30),
        Row.of(f"{name}, beside a busy process", "s", beside.seconds),
        Row.of(f"{name}: beside a busy process / alone", "x", ratio([beside.seconds], [alone.seconds])),
    ]


@contextlib.contextmanager
def _busy_process() -> Generator[None]:
    """A process that computes without a pause on one core."""
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        child.kill()
        child.wait()


def _run(data: str) -> _Taken:
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
        stages = {stage: float(spent) for stage, spent in json.loads((out / "timings.json").read_text()).items()}
        return _Taken(taken, stages, highest)
