"""How far recording and modes reach, from 1e5 to 1e8 weights: ``python -m benchmarks.scale --help``."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import landscope as ls
from landscope.errors import LandscopeError
from landscope.resources import size_in_words

__all__ = ["measure"]

_ROWS = {100_000: 800, 1_000_000: 400, 10_000_000: 60, 100_000_000: 12}
"""Rows of a window by the number of weights."""
_WAYS: dict[str, dict[str, Any]] = {
    "no recorder": {},
    "in memory": {},
    "the last quarter in memory": {"last": 4},
    "on disk": {"path": "rows"},
    'on disk, "delta-int8"': {"path": "rows", "encoding": "delta-int8"},
    "4096 numbers in memory": {"sketch": 4096},
    "held by ls.keep": {"hold_every": 1},
    "held, hold_every=16": {"hold_every": 16},
}
_MOST_HELD = 10_000_000
_SAMPLES = 200
_BATCH = 64
_MODES = 10
_HEAD = """# How far recording, modes and memories reach

`make bench-scale`, each line in a process of its own, {threads} thread(s). Four square layers under SGD with momentum.
Where rows are recorded the gradients are given, so that a step is that of the optimiser alone; a step that a memory
holds computes the gradients of {batch} samples, and so does the bare step beside it. A step is the median over the
second half of the training: the first steps also look for weights that change outside of the optimiser.

What recording adds to a step is given in copies of a row: for the latest rows to memory that is in use and that no
cache holds, for all rows to memory that was not touched before, as the system must first provide it. On disk the mean
over the training is given, until all is written, in writes of a row of the same bytes to a plain file. A memory is that
of `ls.keep` with its default method; what it adds is given as a ratio to the bare step.
"""


@dataclasses.dataclass(frozen=True)
class Training:
    """A stack of equal square layers under SGD with momentum; gradients are given, so that a step is that alone.

    Args:
        n_weights: Number of weights, at least.
        n_steps: Steps that are taken.
    """

    n_weights: int
    n_steps: int

    def begin(self, *, with_gradients: bool = False) -> tuple[nn.Module, torch.optim.Optimizer, Callable[[], None]]:
        """A model, its optimiser, and a function that takes a step with gradients of its own, or computes them."""
        width = int((self.n_weights / 4) ** 0.5) + 1
        model = nn.Sequential(*[nn.Linear(width, width, bias=False) for _ in range(4)])
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        gradients = [torch.randn(width, width) for _ in range(3)]
        inputs, labels = torch.randn(_BATCH, width), torch.randint(width, (_BATCH,))

        def whole_step() -> None:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()

        def step() -> None:
            for number, parameter in enumerate(model.parameters()):
                parameter.grad = gradients[(number + len(done)) % 3]
            done.append(1)
            optimizer.step()

        done: list[int] = []
        return model, optimizer, whole_step if with_gradients else step


def measure(n_weights: int, way: str, folder: Path) -> dict[str, Any]:
    """Seconds of a step, bytes, and seconds for modes of one way of recording; or what it says where it fails."""
    settings = dict(_WAYS[way])
    training = Training(n_weights, _ROWS[n_weights])
    if "path" in settings:
        settings["path"] = folder / settings["path"]
    if "last" in settings:
        settings["last"] = training.n_steps // settings["last"]
    is_held = "hold_every" in settings
    model, optimizer, step = training.begin(with_gradients=is_held)
    try:
        if way == "no recorder":
            return {"seconds a step": _seconds(step, training.n_steps)}
        if is_held:
            return _held(model, optimizer, step, training, **settings)
        recorder = ls.TrajectoryRecorder(model, optimizer, n_steps=training.n_steps, **settings)
        started = time.perf_counter()
        with recorder:
            median = _seconds(step, training.n_steps)
        mean = (time.perf_counter() - started) / training.n_steps
        found = {
            "seconds a step": mean if "path" in settings else median,
            "bytes a row": _bytes(recorder, folder) / training.n_steps,
        }
        started = time.perf_counter()
        ls.principal_modes(recorder.trajectory(), _MODES if training.n_steps > _MODES else None)
        return found | {"seconds for modes": time.perf_counter() - started}
    except (LandscopeError, RuntimeError, MemoryError) as error:
        return {"fails": f"{type(error).__name__}: {error}"}


def _held(
    model: nn.Module, optimizer: torch.optim.Optimizer, step: Callable[[], None], training: Training, hold_every: int
) -> dict[str, Any]:
    """Seconds of a step whose weights a memory holds, and seconds to make what holds them."""
    width = next(model.parameters()).shape[0]
    data = (torch.randn(_SAMPLES, width), torch.randint(width, (_SAMPLES,)))
    started = time.perf_counter()
    memory = ls.keep(model, nn.functional.cross_entropy, data, hold_every=hold_every, follow_outputs=False)
    seconds = time.perf_counter() - started
    n_steps = min(training.n_steps, 4 * hold_every)
    bare = _seconds(step, 8)
    with memory.training(optimizer):
        started = time.perf_counter()
        for _ in range(n_steps):  # a mean: one step in hold_every is the one that is held
            step()
        held = (time.perf_counter() - started) / n_steps
    return {"seconds a step": held, "seconds to keep": seconds, "seconds bare": bare}


def _seconds(step: Callable[[], None], n_steps: int) -> float:
    """The median over the second half of the steps."""
    times = []
    for _ in range(n_steps):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return statistics.median(times[n_steps // 2 :])


def _bytes(recorder: ls.TrajectoryRecorder, folder: Path) -> float:
    on_disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return on_disk or len(recorder.trajectory()) * recorder.row_bytes


def _of_a_process(n_weights: int, way: str) -> dict[str, Any]:
    """Measure in a process of its own, so that its peak of memory is that of one way alone."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.scale", "--one", str(n_weights), way, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"fails": f"ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"}
    return json.loads(done.stdout.splitlines()[-1])


def _table(found: dict[int, dict[str, dict[str, Any]]]) -> str:
    columns = [
        "weights",
        "rows",
        "way",
        "step (ms)",
        "added",
        "bytes a weight and row",
        "10 modes, or to keep (s)",
        "peak memory",
    ]
    lines = [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    for n_weights, ways in found.items():
        bare = ways["no recorder"]
        for way, one in ways.items():
            cells = [f"{n_weights:.0e}", str(_ROWS[n_weights]), way]
            if "fails" in one:
                cells += [one["fails"], "", "", "", ""]
            else:
                size = one.get("bytes a row", 0) / n_weights
                modes = one.get("seconds for modes", one.get("seconds to keep"))
                cells += [
                    f"{1e3 * one['seconds a step']:.3g}", _added(way, one, bare),
                    f"{size:.2f}" if size else "–", "–" if modes is None else f"{modes:.3g}",
                    size_in_words(one["peak"]),
                ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _added(way: str, one: dict[str, Any], bare: dict[str, Any]) -> str:
    """What a way adds to a step, in the unit that the head of the page names for it."""
    if way == "no recorder":
        return "–"
    if "seconds bare" in one:
        return f"{one['seconds a step'] / one['seconds bare']:.2f} times the bare step"
    unit = "writes" if "path" in _WAYS[way] else "first copies" if way == "in memory" else "copies"
    added = (one["seconds a step"] - bare["seconds a step"]) / bare[f"seconds of {unit}"]
    return f"{added:.2f} {unit}"


def _growth(found: dict[int, dict[str, dict[str, Any]]]) -> str:
    """The exponents of growth with the number of weights; the windows of larger models have fewer rows."""
    lines = ["| way | step ~ N^a | modes ~ (rows x N)^a |", "| --- | --- | --- |"]
    for way in _WAYS:
        fits = []
        for name, work in (("seconds a step", lambda n: n), ("seconds for modes", lambda n: _ROWS[n] * n)):
            known = {n: ways[way][name] for n, ways in found.items() if name in ways.get(way, {})}
            sizes, times = torch.tensor([float(work(n)) for n in known]), torch.tensor(list(known.values()))
            fits.append(f"{ls.law.fit_power_law(sizes, times).exponent:.2f}" if len(known) > 2 else "–")
        lines.append(f"| {way} | {' | '.join(fits)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure every way at every size, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--most", type=float, default=1e8, help="largest number of weights")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        found = measure(int(arguments.one[0]), arguments.one[1], Path(arguments.one[2]))
        found["peak"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if arguments.one[1] == "no recorder":
            found |= _units(int(arguments.one[0]), Path(arguments.one[2]))
        print(json.dumps(found))
        return
    sizes = [size for size in _ROWS if size <= arguments.most]
    found = {
        size: {
            way: _of_a_process(size, way)
            for way, settings in _WAYS.items()
            if size <= _MOST_HELD or "hold_every" not in settings
        }
        for size in sizes
    }
    page = f"{_HEAD.format(threads=torch.get_num_threads(), batch=_BATCH)}\n{_table(found)}\n{_growth(found)}"
    print(page)
    if arguments.markdown:
        arguments.markdown.write_text(page)


def _units(n_weights: int, folder: Path) -> dict[str, float]:
    """Seconds to copy a row to memory in use that no cache holds, to fresh memory, and to write it to a file."""
    row, n_rows = torch.randn(n_weights), _ROWS[n_weights]
    used = _seconds_in_use(row)
    kept: list[torch.Tensor] = []
    fresh = _seconds(lambda: kept.append(row.clone()), 12)
    started = time.perf_counter()
    with (folder / "plain").open("wb", buffering=0) as file:
        for _ in range(n_rows):
            file.write(row.numpy().data)
        os.fsync(file.fileno())
    writes = (time.perf_counter() - started) / n_rows
    return {"seconds of copies": used, "seconds of first copies": fresh, "seconds of writes": writes}


def _seconds_in_use(row: torch.Tensor) -> float:
    places = itertools.cycle(torch.zeros(8, len(row)))
    return _seconds(lambda: next(places).copy_(row), 48)


if __name__ == "__main__":
    main()
