"""The public names are frozen, documented, and the same for people and type checkers."""

import ast
import dataclasses
import inspect
from pathlib import Path

import pytest

import landscope as ls

NAMES = {
    "EmpiricalRisk", "ParameterSpace", "ProximalSteps", "TaskMemory", "Trajectory", "TrajectoryRecorder", "directions",
    "flatness", "landscape", "law", "load", "loss_profiles", "noise", "open_trajectory", "penalties", "plots",
    "principal_modes", "save", "surrogates", "synthetic", "variance_flatness",
}  # fmt: skip
MODULES = {"directions", "landscape", "law", "noise", "penalties", "plots", "surrogates", "synthetic"}


def test_public_names_are_frozen():
    assert set(ls.__all__) == NAMES


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(ls.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in block.body for alias in node.names}
    assert seen == NAMES


@pytest.mark.parametrize("name", sorted(NAMES - MODULES))
def test_every_public_name_says_what_it_takes_returns_and_raises(name):
    thing = getattr(ls, name)
    text = inspect.getdoc(thing)
    assert text
    if inspect.isclass(thing):
        assert "Args:" in text
        if not dataclasses.is_dataclass(thing) or name in ("ParameterSpace", "MinibatchOrder", "Trajectory"):
            assert ">>>" in text
        return
    assert ">>>" in text
    assert "Returns:" in text
    assert "Raises:" in text
    for parameter in inspect.signature(thing).parameters:
        assert f"{parameter}:" in text, parameter


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'flatnes'"):
        _ = ls.flatnes


def test_every_module_names_what_it_offers():
    for path in Path(ls.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        lines = path.read_text().count("\n")
        assert lines <= 400, f"{path} has grown to {lines} lines"
