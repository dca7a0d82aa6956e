"""References to a class or function by the module that defines it lead to its public name."""

from __future__ import annotations

import importlib
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

MODULES = (
    "landscope", "landscope.directions", "landscope.landscape", "landscope.noise", "landscope.surrogates",
    "landscope.law", "landscope.penalties", "landscope.memory", "landscope.monitoring", "landscope.plots",
    "landscope.study", "landscope.synthetic",
)  # fmt: skip


def public(module: Any) -> dict[str, Any]:
    """Public objects of a module, by name."""
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    return {name: getattr(module, name) for name in names}


def homes() -> dict[str, str]:
    """Public name of each public object, by the name of where it is defined."""
    found: dict[str, str] = {}
    for module in MODULES:
        loaded = importlib.import_module(module)
        for name, thing in public(loaded).items():
            if hasattr(thing, "__qualname__"):
                found.setdefault(f"{thing.__module__}.{thing.__qualname__}", f"{module}.{name}")
    return found


def _resolve(app: Sphinx, env: Any, node: Any, contnode: nodes.Node) -> nodes.Node | None:
    """Look a reference up again under its public name, members of a class included."""
    if node.get("refdomain") != "py":
        return None
    target = node.get("reftarget", "")
    known = app.landscope_homes  # type: ignore[attr-defined]
    for home, public in known.items():
        if target == home or target.startswith(home + "."):
            name = public + target[len(home) :]
            return env.domains.python_domain.resolve_xref(
                env, node["refdoc"], app.builder, node["reftype"], name, node, contnode
            )
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the lookup."""
    app.landscope_homes = homes()  # type: ignore[attr-defined]
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
