"""The stages of a run in order; what is done is not done again."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from landscope.progress import Reporter
from landscope.protocols import ProgressCallback
from landscope.reproduction.experiment.problem import Problem
from landscope.reproduction.experiment.train import train_run
from landscope.study.analyse import find_modes, fit_laws, measure_flatness
from landscope.study.cache import Done
from landscope.study.controls import measure_controls
from landscope.study.folder import RunFolder
from landscope.study.measured import has_measurements
from landscope.study.noise import measure_noise

__all__ = ["STAGES", "Stage", "run_stages"]


@dataclasses.dataclass(frozen=True)
class Stage:
    """One arrow of the flow.

    Args:
        name: Its command.
        artefact: The file that says it is done, written last.
        title: What a person reads while it runs.
        perform: Does it.
    """

    name: str
    artefact: str
    title: str
    perform: Callable[[RunFolder, Problem, ProgressCallback], None]


STAGES = (
    Stage("train", "training", "Training (epochs, at most)", train_run),
    Stage("modes", "modes", "Principal modes (passes)", find_modes),
    Stage("flatness", "flatness", "Flatness (modes)", measure_flatness),
    Stage("law", "law", "Law and null (modes)", fit_laws),
    Stage("noise", "noise", "Minibatch noise (parts)", measure_noise),
    Stage("controls", "controls", "Controls (rows)", measure_controls),
)
"""From settings to the law; the report is drawn from what these leave behind."""


_BESIDE = {
    "train": (),
    "modes": ("motion", "motion-next", "spectrum"),
    "flatness": ("profiles", "profile-fits", "drawn-modes"),
}
"""What else the earlier stages leave; the later ones name their parts in their mark."""


def _is_whole(run: RunFolder, stage: Stage) -> bool:
    """Whether a stage is done and nothing of it has been deleted since."""
    if not run.has(stage.artefact):
        return False
    if stage.name in _BESIDE:
        return all(run.has(name) for name in _BESIDE[stage.name])
    return all(run.has(name) for name in run.load(stage.artefact, Done).parts) and has_measurements(run, stage.name)


def run_stages(run: RunFolder, reporter: Reporter, *, until: str = "law") -> None:
    """Perform the stages up to ``until`` that are not done yet.

    Args:
        run: The run.
        reporter: Told of progress.
        until: Name of the last stage.
    """
    problem = Problem(run.settings)
    with run.locked():
        for stage in STAGES:
            if not _is_whole(run, stage):
                started = time.perf_counter()
                with reporter.stage(stage.title) as progress:
                    stage.perform(run, problem, progress)
                seconds = time.perf_counter() - started
                run.note_time(stage.name, seconds)
                reporter.note(f"[green]done[/green] {stage.name} in {seconds:.1f} s")
            if stage.name == until:
                break
