"""Pages of public names: a table and the entries of a module, and references that lead to the public name.

The directive ``public-names`` takes a module and its names, in groups with headings::

    .. public-names:: landscope.law

       Measure: measure_exponents variance_flatness
       Results: Exponents

A name that has its entry on the page of another module becomes a line of the table that leads there.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Iterable
from typing import Any

from docutils import nodes
from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.errors import PycodeError
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docstrings import prepare_docstring
from sphinx.util.docutils import SphinxDirective

MODULES = (
    "landscope.directions", "landscope.landscape", "landscope.noise", "landscope.surrogates", "landscope.law",
    "landscope.penalties", "landscope.memory", "landscope.monitoring", "landscope.plots", "landscope.study",
    "landscope.synthetic", "landscope.errors", "landscope.protocols", "landscope.results", "landscope",
)  # fmt: skip
"""Modules with a page; a name in two of them has its entry on the page of the first."""
OPTIONAL = ("landscope.adapters.huggingface", "landscope.adapters.lightning", "landscope.adapters.avalanche")
"""Modules with a page that need a package of their own."""


def public(module: Any) -> dict[str, Any]:
    """Public objects of a module, by name."""
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    return {name: getattr(module, name) for name in names if not inspect.ismodule(getattr(module, name))}


@functools.cache
def homes() -> dict[str, str]:
    """Where each public object has its entry, by every other name that it has."""
    first: dict[int, str] = {}
    found: dict[str, str] = {}
    for module in MODULES:
        for name, thing in public(importlib.import_module(module)).items():
            home = first.setdefault(id(thing), f"{module}.{name}")
            found[f"{module}.{name}"] = home
            if hasattr(thing, "__qualname__"):
                found[f"{thing.__module__}.{thing.__qualname__}"] = home
    return found


def groups(lines: Iterable[str]) -> dict[str, list[str]]:
    """The names under each heading; names before the first heading have an empty one."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in lines:
        before, colon, names = line.rpartition(":")
        heading = before.strip() if colon else heading
        found.setdefault(heading, []).extend(names.split())
    return {heading: names for heading, names in found.items() if names}


class PublicNames(SphinxDirective):
    """A table of the names of a module, one line each, and then the entries under headings."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Write the page as text, and let Sphinx read it."""
        module, grouped = self.arguments[0], groups(self.content)
        try:
            importlib.import_module(module)
        except ImportError as error:
            return [nodes.paragraph("", f"Not shown here: {error}.")]
        elsewhere = any("." in name for names in grouped.values() for name in names)
        text = [f".. py:{'currentmodule' if elsewhere else 'module'}:: {module}", ""]
        for heading, names in grouped.items():
            text += [f"**{heading}**", ""] if len(grouped) > 1 else []
            text += [*self._table([f"{module}.{name}" for name in names]), ""]
        for heading, names in grouped.items():
            full = [f"{module}.{name}" for name in names]
            entries = [name for name in full if self._home(name) == name]
            if entries and len(grouped) > 1:
                text += [heading, "-" * len(heading), ""]
            for name in entries:
                text += [*entry(name, found(name), homes()), ""]
        return self.parse_text_to_nodes("\n".join(text), allow_section_headings=True)

    def _home(self, name: str) -> str:
        return homes().get(name, name)

    def _table(self, names: list[str]) -> list[str]:
        rows = [".. list-table::", "   :class: names", "   :widths: 35 65", ""]
        for name in names:
            first = first_paragraph("\n".join(description(name, found(name))))
            rows += [f"   * - :py:obj:`~{self._home(name)}`", f"     - {first}"]
        return rows


def found(name: str) -> Any:
    """The object of a full name; its module may hold a module of the same name."""
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


def first_paragraph(text: str | None) -> str:
    """The sentence with which a docstring begins."""
    return " ".join((text or "").strip().partition("\n\n")[0].split())


def description(name: str, thing: Any) -> list[str]:
    """Lines of the docstring of a name; that of a constant stands below it in the module that defines it."""
    if callable(thing):
        return prepare_docstring(inspect.getdoc(thing) or "")
    last = name.rpartition(".")[2]
    for module in [key for key, value in sys.modules.items() if vars(value).get(last) is thing]:
        with contextlib.suppress(PycodeError):
            if told := ModuleAnalyzer.for_module(module).find_attr_docs().get(("", last)):
                return told
    return [""]


def entry(name: str, thing: Any, known: dict[str, str]) -> list[str]:
    """The directive that makes the entry of a name; what a known base has stands there."""
    if not callable(thing):
        return [f".. py:data:: {name.rpartition('.')[2]}", "", *(f"   {line}" for line in description(name, thing))]
    if not inspect.isclass(thing):
        return [f".. autofunction:: {name}"]
    if issubclass(thing, BaseModel):
        return [f".. autoclass:: {name}(**settings)"]
    bases = thing.__mro__[1:]
    public_bases = [base for base in bases if f"{base.__module__}.{base.__qualname__}" in known]
    foreign = [base for base in bases if not base.__module__.startswith("landscope.")]
    own = {member for member, value in vars(thing).items() if getattr(value, "__doc__", None)}
    told_there = {member for base in public_bases for member in dir(base)} - own
    left_out = {"kind", *told_there, *(member for base in foreign for member in dir(base))}
    shown = sorted(member for member in left_out if not member.startswith("_"))
    lines = [f".. autoclass:: {name}", "   :members:", f"   :exclude-members: {', '.join(shown)}"]
    if public_bases:
        return [*lines, "   :show-inheritance:"]
    return [*lines, f"   :inherited-members: {', '.join(base.__name__ for base in foreign)}"]


def _resolve(app: Sphinx, env: Any, node: Any, contnode: nodes.Node) -> nodes.Node | None:
    """Look a reference up again under the name that has an entry, members of a class included."""
    if node.get("refdomain") != "py":
        return None
    owner, members = node.get("reftarget", ""), ""
    while owner:
        home = homes().get(owner)
        if home is not None:
            return env.domains.python_domain.resolve_xref(
                env, node["refdoc"], app.builder, node["reftype"], home + members, node, contnode
            )
        owner, dot, last = owner.rpartition(".")
        members = f"{dot}{last}{members}"
    return None if "refexplicit" in node else contnode  # a type of a signature that has no page


_PLAIN = (
    (r"(\[Tensor, ')\s+", r"\1"),  # the blank that keeps one axis from being read as a name
    (r"provenance: [^=]*=\s*<factory>(, )?", ""),  # every result has it
    (r"<factory>", "..."),  # else the signature is no Python
)


def _plain_signature(*event: Any) -> tuple[Any, ...]:
    """A signature as a reader would write it: ``Float[Tensor, 'N']``."""
    signature = list(event[-2:])
    for pattern, plain in _PLAIN:
        signature = [re.sub(pattern, plain, text) if text else text for text in signature]
    return tuple(signature)


def _hide_colon(_: Sphinx, what: str, *event: Any) -> None:
    """Keep the Google style from reading what stands before a colon as the type of an attribute."""
    lines = event[-1]
    if what in ("attribute", "data", "property") and lines:
        lines[0] = lines[0].replace(":", "\0")


def _show_colon(*event: Any) -> None:
    lines = event[-1]
    lines[:] = [line.replace("\0", ":") for line in lines]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive and the lookup."""
    app.add_directive("public-names", PublicNames)
    app.connect("missing-reference", _resolve)
    app.connect("autodoc-process-signature", _plain_signature)
    app.connect("autodoc-process-docstring", _hide_colon, priority=400)  # napoleon has 500
    app.connect("autodoc-process-docstring", _show_colon, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
