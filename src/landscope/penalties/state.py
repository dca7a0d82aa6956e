"""Penalties as plain mappings, for a user's own checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from landscope.errors import StorageError
from landscope.results import Result, result_kinds

__all__ = ["check_keys", "fields_of", "penalty_from"]


def fields_of(penalty: Result) -> dict[str, Any]:
    """Kind and fields of a penalty without its provenance; torch.save stores them without pickling classes."""
    names = [field.name for field in dataclasses.fields(penalty) if field.name != "provenance"]
    values = {name: getattr(penalty, name) for name in names}
    return {"kind": penalty.kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}}


def penalty_from(state: Mapping[str, Any], kinds: tuple[type[Result], ...]) -> Any:
    """Rebuild a penalty from a mapping made by :func:`fields_of`.

    Raises:
        StorageError: If the mapping is not the state of a penalty, or is of another version of landscope.
    """
    values = dict(state)
    kind = result_kinds().get(str(values.pop("kind", "")))
    if kind is None or not issubclass(kind, kinds):
        raise StorageError(
            expected="the state of a penalty", got=f"the keys {', '.join(map(str, state))}",
            hint="Pass what penalty.state_dict() returned.",
        )  # fmt: skip
    check_keys(values, [field.name for field in dataclasses.fields(kind) if field.name != "provenance"])
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    return kind(**fields)


def check_keys(state: Mapping[str, Any], wanted: Iterable[str]) -> None:
    """Raise unless the state of a penalty has exactly the expected keys."""
    keys = state.keys() - {"kind"}
    if keys != set(wanted):
        raise StorageError(
            expected=f"the state of a penalty with {', '.join(sorted(wanted))}",
            got=f"{', '.join(sorted(map(str, keys))) or 'none of them'}",
            hint="The state is damaged, or was made by another version of landscope.",
        )
