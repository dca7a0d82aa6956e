"""A table of settings from the class that holds them: name, values, default, meaning.

``.. settings-table:: module.Class`` shows all fields; ``:without: module.Base`` leaves out those of other classes.
"""

from __future__ import annotations

import importlib
import types
import typing
from typing import Any, Literal

import annotated_types
from docutils import nodes
from docutils.parsers.rst import directives
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_WORDS = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "none"}


def values_of(annotation: Any, metadata: typing.Iterable[Any] = ()) -> str:
    """The values that a setting takes, in words."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    bounds = "".join(filter(None, map(_bound, metadata)))
    if origin is typing.Annotated:
        return values_of(args[0], args[1:]) + bounds
    if origin is Literal:
        return ", ".join(f"``{value}``" for value in args) + bounds
    if origin in (typing.Union, types.UnionType):
        return "; or ".join(values_of(part, metadata if part is not type(None) else ()) for part in args)
    if origin is tuple:
        many = args[-1] is Ellipsis
        return f"{'some' if many else len(args)} values, each {values_of(args[0])}"
    return _WORDS.get(annotation, str(annotation)) + bounds


def _bound(limit: Any) -> str:
    """A limit of a number in words; what pydantic collects is looked into."""
    if isinstance(limit, FieldInfo):
        return "".join(map(_bound, limit.metadata))
    for kind, name, words in (
        (annotated_types.Ge, "ge", "from"), (annotated_types.Gt, "gt", "above"), (annotated_types.Lt, "lt", "below"),
    ):  # fmt: skip
        if isinstance(limit, kind):
            return f", {words} {getattr(limit, name)}"
    return ""


def default_of(field: FieldInfo) -> str:
    """The default of a setting."""
    return "none" if field.default is None else f"``{field.default}``"


class SettingsTable(SphinxDirective):
    """A table of the fields of a class of settings."""

    required_arguments = 1
    option_spec = {"without": directives.unchanged}  # noqa: RUF012 (docutils reads it from the class)

    def run(self) -> list[nodes.Node]:
        """Write the table as text, and let Sphinx read it."""
        left_out = {name for kind in self.options.get("without", "").split() for name in _class(kind).model_fields}
        text = [".. list-table::", "   :header-rows: 1", "   :class: names settings", "   :widths: 22 20 12 46", ""]
        text += ["   * - name", "     - values", "     - default", "     - meaning"]
        for name, field in _class(self.arguments[0]).model_fields.items():
            if name not in left_out:
                meaning = " ".join((field.description or "").split())
                text += [f"   * - ``{name}``", f"     - {values_of(field.annotation, field.metadata)}"]
                text += [f"     - {default_of(field)}", f"     - {meaning}"]
        return self.parse_text_to_nodes("\n".join(text))


def _class(name: str) -> type[BaseModel]:
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("settings-table", SettingsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
