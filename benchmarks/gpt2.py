"""Whether a GPT-2 of 124 million weights is recorded, and its modes found, on a small machine: see ``--help``."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import landscope as ls
from landscope.reproduction.experiment.datasets.texts import byte_sequences, python_texts
from landscope.resources import size_in_words

_STEPS, _MODES, _BATCH, _LENGTH = 100, 10, 2, 64
_LIMIT = 2**34
"""Bytes that a process may allocate."""
_HEAD = """# A GPT-2 of 124 million weights, recorded with one byte a weight

`python -m benchmarks.gpt2 FOLDER --markdown docs/results/gpt2.md`, each line in a process of its own, {threads}
thread(s). The model is made from its standard configuration and trained with AdamW on Python's handbook, byte by
byte: {steps} steps, each of {batch} rows of {length} bytes. Each process may allocate {limit}, or it ends with an
error. Peak memory is what it allocated, with the model and its optimiser where it trains; files that it reads through
memory are not counted, as the system takes their memory back when it is needed.
"""


def _training() -> tuple[GPT2LMHeadModel, torch.optim.Optimizer, Callable[[], None]]:
    """A model from its configuration, its optimiser, and a function that takes a step."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    texts, _ = byte_sequences(python_texts()["english"], _LENGTH)
    generator = torch.Generator().manual_seed(1)

    def step() -> None:
        rows = texts[torch.randint(len(texts), (_BATCH,), generator=generator)]
        optimizer.zero_grad()
        model(input_ids=rows, labels=rows).loss.backward()
        optimizer.step()

    return model, optimizer, step


def train(folder: Path) -> dict[str, Any]:  # noqa: ARG001 - parts share a form
    """Seconds of a step without a recorder."""
    _, _, step = _training()
    step()
    started = time.perf_counter()
    for _ in range(_STEPS // 5):
        step()
    return {"seconds": (time.perf_counter() - started) / (_STEPS // 5), "of": "a step"}


def record(folder: Path) -> dict[str, Any]:
    """Seconds of a recorded step, and bytes on disk."""
    model, optimizer, step = _training()
    started = time.perf_counter()
    with ls.TrajectoryRecorder(model, optimizer, path=folder / "rows", encoding="delta-int8", n_steps=_STEPS):
        for _ in range(_STEPS):
            step()
    return {"seconds": (time.perf_counter() - started) / _STEPS, "of": "a step"}


def modes(folder: Path) -> dict[str, Any]:
    """Seconds for the modes, and their variances."""
    rows = ls.open_trajectory(folder / "rows")
    started = time.perf_counter()
    found = ls.principal_modes(rows, _MODES)
    seconds = time.perf_counter() - started
    variance = ", ".join(f"{value:.3g}" for value in found.variance.tolist())
    return {"seconds": seconds, "of": f"{_MODES} modes of {len(rows)} rows", "found": f"variances {variance}"}


class Peak(threading.Thread):
    """Most memory that this process has allocated, looked at ten times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self.start()

    def run(self) -> None:
        """Look until the process ends."""
        while True:
            status = Path("/proc/self/status").read_text()
            self.bytes = max(self.bytes, 1024 * int(status.partition("RssAnon:")[2].split()[0]))
            time.sleep(0.1)


_PARTS = {"train": train, "record": record, "modes": modes}


def _of_a_process(name: str, folder: Path) -> dict[str, Any]:
    """Measure in a process of its own, so that its peak of memory is that of one part alone."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpt2", str(folder), "--one", name],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    found["disk"] = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(name, found, flush=True)
    return found


def main() -> None:
    """Train, record and find modes, each in its own process, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpt2", description=__doc__)
    parser.add_argument("folder", type=Path, help="an empty folder on a disk with 20 GB")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--one", choices=_PARTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        resource.setrlimit(resource.RLIMIT_DATA, (_LIMIT, _LIMIT))
        peak = Peak()
        found = _PARTS[arguments.one](arguments.folder)
        print(json.dumps(found | {"peak": peak.bytes}))
        return
    found = {name: _of_a_process(name, arguments.folder) for name in _PARTS}
    lines = ["| part | seconds | of | peak memory | on disk | |", "| --- | --- | --- | --- | --- | --- |"]
    lines += [
        f"| {name} | {one['seconds']:.3g} | {one['of']} | {size_in_words(one['peak'])} | {size_in_words(one['disk'])} "
        f"| {one.get('found', '')} |"
        for name, one in found.items()
    ]
    head = _HEAD.format(
        threads=torch.get_num_threads(), steps=_STEPS, batch=_BATCH, length=_LENGTH, limit=size_in_words(_LIMIT)
    )
    page = f"{head}\n" + "\n".join(lines) + "\n"
    print(page)
    if arguments.markdown:
        arguments.markdown.write_text(page)


if __name__ == "__main__":
    main()
