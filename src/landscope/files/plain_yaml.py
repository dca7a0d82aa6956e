"""YAML files of settings, read within limits: no aliases, little nesting, text as keys, numbers of usual size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from landscope.errors import StorageError
from landscope.files.atomic import write_text
from landscope.files.checked_json import crc_of, read_limited

__all__ = ["read_yaml", "write_yaml"]

_MAX_BYTES = 2**20
_MAX_DEPTH = 16
_MAX_DIGITS = 300


class _PlainLoader(yaml.SafeLoader):
    """Refuses what settings never need and what makes a small file take much memory or time."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias, which settings do not need")
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise yaml.YAMLError(f"more than {_MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep=deep)
        keys = [self.construct_object(key) for key, _ in node.value]
        if not all(isinstance(key, str) for key in keys) or len(set(keys)) < len(keys):
            raise yaml.YAMLError("keys that are no text, or twice the same key")
        return found

    def construct_yaml_int(self, node: Any) -> int:
        if len(node.value) > _MAX_DIGITS:
            raise yaml.YAMLError(f"a number of {len(node.value)} digits")
        return super().construct_yaml_int(node)


def _no_setting(_: _PlainLoader, node: Any) -> Any:
    raise yaml.YAMLError(f"{node.tag.rpartition(':')[2]}, which no setting is")


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _PlainLoader.construct_yaml_int)
for _kind in ("timestamp", "binary", "omap", "pairs", "set"):
    _PlainLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _no_setting)


def write_yaml(path: Path, values: Mapping[str, Any]) -> None:
    """Write a mapping with its checksum under ``crc``, completely or not at all; a power cut cannot take it."""
    write_text(path, yaml.safe_dump({**values, "crc": crc_of(values)}, sort_keys=False), durable=True)


def read_yaml(path: Path, what: str, *, has_crc: bool = True) -> dict[str, Any]:
    """The mapping in a YAML file.

    Args:
        path: The file.
        what: What it holds, for the error.
        has_crc: Whether :func:`write_yaml` wrote it, so that it has a checksum; a file of a person has none.

    Raises:
        StorageError: If it is missing, damaged, no mapping, or holds what settings never need.
    """
    text = read_limited(path, _MAX_BYTES)
    hint = "The file is damaged, or was changed by hand. Restore it, or choose another folder."
    try:
        found = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a safe loader with fewer features
        if not isinstance(found, dict):
            raise yaml.YAMLError(f"{type(found).__name__} in place of a mapping")
        if has_crc and found.pop("crc", None) != crc_of(found):
            raise yaml.YAMLError("content that does not fit its checksum")
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise StorageError(
            expected=f"{what} in {path}",
            got=" ".join(str(error).split())[:200] or type(error).__name__,
            hint=hint,
        ) from error
    return found
