"""The settings of a monitor that need no model: they are checked where they are given, also before a training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from landscope._checks import check_choice, check_count, check_path, check_seed, check_share
from landscope.errors import InputError
from landscope.monitoring.quantities import QUANTITIES
from landscope.monitoring.sinks import several, sinks_of

__all__ = ["BUDGET", "MonitorSettings"]

BUDGET = 0.05
"""Share of the training time for measurements where none is named."""


@dataclasses.dataclass(kw_only=True)
class MonitorSettings:
    """The settings of :class:`landscope.Monitor`, which says what each is; all are checked here, and read once.

    Args:
        budget: Largest share of the training time; None for ``BUDGET``, or for no budget with ``every``.
        every: Steps between measurements in place of a budget.
        to: Where the numbers go to.
        path: Folder for what the sinks write, and for the history.
        quantities: Names of the quantities to measure.
        n_samples: Number of probe samples.
        n_modes: Number of running principal modes.
        memory: Measurements of the motion that the modes remember.
        first_step: Number of the first step.
        seed: Random seed.

    Raises:
        InputError: If an argument is of another kind or out of its range, a budget and ``every`` are given, or the
            package of a sink is not installed.
    """

    budget: float | None = None
    every: int | Mapping[str, int] | None = None
    to: Any = ()
    path: str | Path | None = None
    quantities: Iterable[str] | None = None
    n_samples: int = 256
    n_modes: int = 4
    memory: int = 100
    first_step: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.budget is not None:
            check_share("budget", self.budget, hint="Write 5 % as 0.05.")
        self.steps_between = _steps_between(self.every)
        if self.budget is not None and self.every is not None:
            raise InputError(
                expected="a budget, or every= for numbers at the same steps in every run",
                got=f"budget={self.budget} and every={self.every}", hint="Leave one of them out.",
            )  # fmt: skip
        self.quantities = self.names = _checked_names(self.quantities, self.steps_between)
        self.folder = None if self.path is None else check_path("path", self.path)
        self.to = several(self.to)
        self.openers = sinks_of(self.to, self.folder)
        check_count("n_samples", self.n_samples)
        check_count("n_modes", self.n_modes)
        check_count("memory", self.memory, minimum=2)
        check_count("first_step", self.first_step)
        check_seed(self.seed)

    @property
    def share(self) -> float:
        """Largest share of the training time."""
        return BUDGET if self.budget is None else self.budget


def _steps_between(every: int | Mapping[str, int] | None) -> dict[str, int] | None:
    """Steps between measurements of each quantity; None where a budget chooses them."""
    if every is None:
        return None
    if not isinstance(every, Mapping):
        return dict.fromkeys(QUANTITIES, check_count("every", every))
    return {
        check_choice("a quantity of every", name, QUANTITIES): check_count(f"every[{name!r}]", steps)
        for name, steps in every.items()
    }


def _checked_names(quantities: Iterable[str] | None, every: Mapping[str, int] | None) -> tuple[str, ...]:
    chosen = QUANTITIES if quantities is None else (quantities,) if isinstance(quantities, str) else tuple(quantities)
    for name in chosen:
        check_choice("quantities", name, QUANTITIES)
    names = tuple(name for name in chosen if every is None or name in every)
    if not names:
        raise InputError(expected="at least one quantity", got="none", hint=f"Choose of {', '.join(QUANTITIES)}.")
    if "temperature" in names and "motion" not in names:
        raise InputError(
            expected='"motion" beside "temperature", which is measured along the modes of the motion',
            got=", ".join(names), hint="Add it, or leave the temperature out.",
        )  # fmt: skip
    return names
