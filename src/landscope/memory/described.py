"""A memory in a few lines, as ``print`` shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from landscope.errors import LandscopeError

if TYPE_CHECKING:
    from landscope.memory.held_tasks import HeldTasks
    from landscope.memory.holds_tasks import HoldsTasks
    from landscope.memory.replay.sources import Replay
    from landscope.memory.report.rise import Rise

__all__ = ["described"]

_MOST_NAMES = 10


def described(memory: HoldsTasks, tasks: HeldTasks) -> str:
    """One line a fact: method, tasks, strength, budget and what of it is spent, numbers stored, and replay."""
    dim, rise = memory.space.dim, _rise(memory)
    facts = {
        "method": _method(memory),
        "tasks": f"{len(tasks.names)} held: {_listed(tasks.names)}" if tasks.names else "none held yet",
        "strength": _strength(memory, tasks),
        "budget": _budget(tasks, rise),
        **({"spent": str(rise)} if rise is not None and tasks.names else {}),
        "stored": f"{memory.n_stored:,} numbers, {memory.n_stored / dim:.3g} for each weight" if dim else "nothing",
        "replay": _replay(memory.replay),
    }
    width = max(map(len, facts))
    head = f"{type(memory).__name__} of {memory.space.in_words}"
    return "\n".join([head, *(f"  {name:<{width}}  {text}" for name, text in facts.items())])


def _listed(names: Sequence[str]) -> str:
    return ", ".join([*names[:_MOST_NAMES], *(["..."] if len(names) > _MOST_NAMES else [])])


def _method(memory: HoldsTasks) -> str:
    if memory.strength == 0:
        return "no weight is held"
    steps = "implicit steps" if memory.implicit else "memory.penalty() in the loss"
    return f"{memory.method.name}, {steps}"


def _strength(memory: HoldsTasks, tasks: HeldTasks) -> str:
    found = f"{memory.strength:.4g}"
    if memory.strength == 0:
        return found
    if (budget := tasks.budget) is not None and not budget.at_end:
        return f"{found}, multiplied by {budget.factor:.3g} now, by the budget"
    return f"{found}, multiplied by {memory.output_ratio:.3g} now" if memory.output_ratio != 1 else found


def _rise(memory: HoldsTasks) -> Rise | None:
    try:
        return memory.rise
    except LandscopeError:  # weights that are NaN, of which everything else can be shown
        return None


def _budget(tasks: HeldTasks, rise: Rise | None) -> str:
    if (budget := tasks.budget) is None:
        return "none"
    when = ", at the end of each training" if budget.at_end else ""
    of_mean = tasks.names and rise is not None and rise.measured is not None and rise.task is None
    least = f", or by {budget.absolute:.3g}" if budget.absolute else ""
    whose = "their mean loss" if of_mean else "each loss"
    return f"{whose} may rise by {100 * budget.rise:.3g} %{least}, {tasks.measured_on}{when}"


def _replay(replay: Replay | None) -> str:
    if replay is None:
        return "none"
    return f"{replay.batch_size} samples a step, {type(replay.source).__name__}"
