"""Which rows of a recording are the window, and which are fresh data."""

from __future__ import annotations

import dataclasses

from landscope.errors import InputError
from landscope.study.checkpoints import nearest_at_or_before
from landscope.study.settings import StudySettings
from landscope.trajectory import Trajectory

__all__ = ["Windows", "choose_windows"]

MIN_ROWS = 21
"""Ten blocks of time with two steps each."""


@dataclasses.dataclass(frozen=True)
class Windows:
    """The window and the fresh data.

    Args:
        window: Rows in which the modes are found; its last row is w0.
        fresh: Other rows, along which nothing was selected; None where only one window is analysed.
    """

    window: Trajectory
    fresh: Trajectory | None

    @property
    def step(self) -> int:
        """Optimiser step of w0."""
        return int(self.window.steps[-1])


def choose_windows(recorded: Trajectory, saved: list[int], settings: StudySettings) -> Windows:
    """The window and the fresh data that the settings name, or the defaults.

    By default the window is the last quarter of the rows and ends at the last saved whole model. The fresh data
    are as many rows before it, or all of these where there are fewer; the rows after it where too few lie before.

    Args:
        recorded: All rows.
        saved: Steps with a saved whole model.
        settings: Settings of the study.

    Raises:
        InputError: If a window holds too few rows, or does not end where the whole model was saved.
    """
    if settings.window is None:
        window = _last_quarter(recorded, saved)
    else:
        window = _named("window", recorded, settings.window)
        _check_saved(settings.window[1], saved)
    if settings.fresh == "none":
        return Windows(window, None)
    if settings.fresh is not None:
        return Windows(window, _named("fresh", recorded, settings.fresh))
    return Windows(window, _before(recorded, window) or _after(recorded, window))


def _check_saved(end: int, saved: list[int]) -> None:
    if end not in saved:
        raise InputError(
            expected=f"a window that ends where the whole model was saved: {', '.join(map(str, saved)) or 'nowhere'}",
            got=f"step {end}",
            hint="Choose one of these steps, or name the window before the training so that it is saved there.",
        )


def _named(name: str, recorded: Trajectory, steps: tuple[int, int]) -> Trajectory:
    first, last = int(recorded.steps[0]), int(recorded.steps[-1])
    interval = int(recorded.steps.diff().median()) if len(recorded) > 1 else 1
    if steps[0] < first - interval or steps[1] > last:
        raise InputError(
            expected=f"{name} within the recorded steps {first} to {last}",
            got=f"steps {steps[0]} to {steps[1]}",
            hint="Choose steps that were recorded, or train longer.",
        )
    part = recorded.window(max(steps[0], first), steps[1] + 1)
    if len(part) < MIN_ROWS:
        raise InputError(
            expected=f"at least {MIN_ROWS} recorded steps in {name}",
            got=f"{len(part)} in steps {steps[0]} to {steps[1]}",
            hint="Choose a longer stretch, or record every step.",
        )
    return part


def _last_quarter(recorded: Trajectory, saved: list[int]) -> Trajectory:
    end = nearest_at_or_before(
        [step for step in saved if bool((recorded.steps == step).any())], int(recorded.steps[-1])
    )
    if end is None:
        raise InputError(
            expected="a saved whole model at a recorded step",
            got="none",
            hint="Record with study.record(optimizer): it saves the model at the end of the training.",
        )
    rows = int((recorded.steps <= end).sum())
    count = max(MIN_ROWS, rows // 4)
    if rows < MIN_ROWS:
        raise InputError(
            expected=f"at least {MIN_ROWS} recorded steps up to the last saved model, at step {end}",
            got=f"{rows}",
            hint="Train longer, or save the weights more often.",
        )
    return recorded.part(slice(rows - min(count, rows), rows))


def _before(recorded: Trajectory, window: Trajectory) -> Trajectory | None:
    first = int((recorded.steps < int(window.steps[0])).sum())
    count = min(len(window), first)
    return recorded.part(slice(first - count, first)) if count >= MIN_ROWS else None


def _after(recorded: Trajectory, window: Trajectory) -> Trajectory | None:
    first = int((recorded.steps <= int(window.steps[-1])).sum())
    count = min(len(window), len(recorded) - first)
    return recorded.part(slice(first, first + count)) if count >= MIN_ROWS else None
