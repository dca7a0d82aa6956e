"""One group of benchmarks in a process of its own: ``python -m benchmarks.group NAME SUBJECT THREADS DEVICE OUT``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.architectures import architectures
from benchmarks.end_to_end import end_to_end
from benchmarks.fisher import fisher
from benchmarks.growth import growth
from benchmarks.lines import flatness, points, whole_jobs
from benchmarks.measure import Row
from benchmarks.modes import modes
from benchmarks.noise_scale import noise_scale
from benchmarks.planes import planes
from benchmarks.spectra import spectra
from benchmarks.subject import Subject
from benchmarks.tasks import tasks
from benchmarks.training import training
from benchmarks.transformers import transformers

GROUPS: dict[str, Callable[[Subject], list[Row]]] = {
    "points": points,
    "flatness": flatness,
    "planes": planes,
    "architectures": architectures,
    "transformers": transformers,
    "modes": modes,
    "fisher": fisher,
    "spectra": spectra,
    "noise-scale": noise_scale,
    "training": training,
    "whole-jobs": whole_jobs,
    "growth": growth,
    "tasks": tasks,
    "end-to-end": end_to_end,
}
ON_GPU = ("points", "flatness", "architectures")
ONCE = ("modes", "fisher", "spectra", "growth", "tasks", "end-to-end")
"""Measured on all threads only: minutes each."""


def main() -> None:
    """Measure and write the rows."""
    name, path, threads, device, out = sys.argv[1:]
    torch.set_num_threads(int(threads))
    rows = GROUPS[name](Subject(Path(path), device))
    Path(out).write_text(json.dumps([row.summary() for row in rows]))


if __name__ == "__main__":
    main()
