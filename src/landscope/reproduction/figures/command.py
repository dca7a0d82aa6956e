"""The command that makes the figures of a plan."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from landscope.reproduction.figures.figure import Figure, Plan

__all__ = ["command_of"]


def command_of(plan: Plan, figures: Sequence[Figure]) -> str:
    """The ``landscope reproduce`` that makes the same again, in Markdown.

    Args:
        plan: Settings, seeds and sizes.
        figures: The figures.

    Returns:
        The command between backticks, without settings at their defaults; behind it what a file must say, as the
        command line cannot give a setting no value.
    """
    from landscope.reproduction.figures import DEFAULTS, OF_SINGLE_RUNS, QUICK

    names = [figure.key for figure in figures]
    group = "figures" if names == [figure.key for figure in OF_SINGLE_RUNS] else "all"
    words = ["landscope", "reproduce", names[0] if len(names) == 1 else group, "--data", plan.settings.data]
    words += ["--seeds", f"{plan.seeds}"]
    if plan.pairs:
        words += ["--pairs", ",".join(f"{size}:{rate:g}" for size, rate in plan.pairs)]
    if plan.quick:
        words += ["--quick"]
    usual = plan.settings.of({**(QUICK if plan.quick else DEFAULTS), "data": plan.settings.data}).model_dump()
    chosen = {name: value for name, value in plan.settings.model_dump().items() if value != usual[name]}
    words += [word for name, value in chosen.items() if value is not None for word in _option(name, value)]
    if absent := [f"`{name}: null`" for name, value in chosen.items() if value is None]:
        return f"`{shlex.join([*words, '--config', 'nulls.yaml'])}`, with {', '.join(absent)} in `nulls.yaml`"
    return f"`{shlex.join(words)}`"


def _option(name: str, value: Any) -> list[str]:
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{option}" if value else f"--no-{option}"]
    return [f"--{option}", *(f"{one}" for one in (value if isinstance(value, tuple) else (value,)))]
