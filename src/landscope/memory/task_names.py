"""Names of finished tasks."""

from __future__ import annotations

from collections.abc import Sequence

from landscope._checks import check_kind
from landscope.errors import InputError

__all__ = ["new_name"]


def new_name(given: str | None, taken: Sequence[str], *, is_new: bool) -> str:
    """The name of a task that ends after others.

    Args:
        given: The name that the user chose; None for "task 1", "task 2" and so on.
        taken: Names of the earlier tasks.
        is_new: Whether it can be another task than the last one.

    Raises:
        InputError: If the name is taken or empty, or the task is none of its own.

    Example:
        >>> new_name(None, [], is_new=True), new_name(None, ["digits"], is_new=True), new_name("b", ["a"], is_new=True)
        ('task 1', 'task 2', 'b')
    """
    if not is_new:
        raise InputError(
            expected=f"a model that was trained since {taken[-1]!r} was consolidated",
            got="the same weights, so what they know would count twice",
            hint='Train first. To hold other data that the same weights know, pass a name: consolidate(..., name="b"). '
            "To hold the tasks more strongly, raise memory.strength.",
        )
    if given is None:
        return next(name for n in range(len(taken) + 1, 2 * len(taken) + 2) if (name := f"task {n}") not in taken)
    name = check_kind("the name of the task", given, str, hint='Pass name="digits", or leave it out.')
    if not name.strip() or name in taken:
        raise InputError(
            expected="a name that no earlier task has" if name.strip() else "a name with letters", got=repr(name),
            hint=f"Tasks so far: {', '.join(taken) or 'none'}. To consolidate one again, make a new memory.",
        )  # fmt: skip
    return name
