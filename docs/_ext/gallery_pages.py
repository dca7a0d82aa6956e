"""The code of a page of the gallery: what is shown is what runs, block after block, in one scope."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

__all__ = ["Block", "blocks_of", "figures_of", "names_missing", "places_of"]

_FENCE = re.compile(r"^```\{gallery-(?:code|figure)\}[ ]*(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OPTIONS = re.compile(r"\A(?::[\w-]+:.*\n)+\n?")


@dataclass(frozen=True)
class Block:
    """One block of code.

    Args:
        name: Name of the figure that its last expression gives; "" where it prepares others.
        code: The code.
        line: Line of the page on which it begins.
    """

    name: str
    code: str
    line: int


def blocks_of(text: str) -> list[Block]:
    """The blocks of a page, in order."""
    found = []
    for match in _FENCE.finditer(text):
        code = _OPTIONS.sub("", match[2])
        found.append(Block(match[1], code, text.count("\n", 0, match.end(2) - len(code)) + 1))
    return found


def figures_of(page: Path) -> Iterator[tuple[str, go.Figure]]:
    """Run a page from its top, and give each figure by its name.

    Args:
        page: The page; modules beside it can be imported.

    Raises:
        TypeError: If the last expression of a block that names a figure is no figure.
    """
    scope: dict[str, Any] = {"__name__": page.stem}
    with _importable(page.parent):
        for block in blocks_of(page.read_text(encoding="utf-8")):
            with contextlib.redirect_stdout(io.StringIO()):
                value = _run(block, page, scope)
            if not block.name:
                continue
            if not isinstance(value, go.Figure):
                raise TypeError(
                    f"{page.name}:{block.line}: the last line of {block.name} must be an expression that gives a "
                    f"plotly figure; it gives {type(value).__name__}"
                )
            yield block.name, value


def names_missing(pages: list[Path], wanted: set[str]) -> set[str]:
    """Names among those wanted under which no page shows a figure."""
    return wanted - {block.name for page in pages for block in blocks_of(page.read_text(encoding="utf-8"))}


def places_of(pages: list[Path]) -> dict[str, tuple[str, str]]:
    """Where each figure is: the stem of its page and the heading above it, by the name of the figure."""
    found = {}
    for page in pages:
        text = page.read_text(encoding="utf-8")
        lines = text.splitlines()
        for block in blocks_of(text):
            headings = [line for line in lines[: block.line] if line.startswith("## ")]
            if block.name and headings:
                found[block.name] = (page.stem, headings[-1].removeprefix("## "))
    return found


def _run(block: Block, page: Path, scope: dict[str, Any]) -> Any:
    """Run a block; the value of its last line if that is an expression."""
    tree = ast.parse(block.code, page.name)
    ast.increment_lineno(tree, block.line - 1)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, page.name, "exec"), scope)  # noqa: S102 (the code of our own page)
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), page.name, "eval"), scope)  # noqa: S307


@contextlib.contextmanager
def _importable(folder: Path) -> Generator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
