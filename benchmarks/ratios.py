"""Each alternative over landscope, from the tables of benchmarks: ``python -m benchmarks.ratios``.

Measures nothing. Prints the page ratios.md of docs/results, which "How landscope compares" includes: of every row
"QUANTITY: landscope" the rows "QUANTITY: ALTERNATIVE" of the same table, with the ratio of their medians.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["page"]

_RESULTS = Path(__file__).parents[1] / "docs/results"
_PAGES = ("benchmark.md", "spectra.md")
_HEAD = """# Alternatives over landscope

`python -m benchmarks.ratios > docs/results/ratios.md`, from the medians of {pages}.

Above 1 landscope takes less: time, products with a matrix, memory, or error; below 1 the alternative does. "Plain
loop", "full forward" and "bisection" are what a user would write without any of the packages.
"""
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "GiB": 1.0, "": 1.0}
_NO_ALTERNATIVE = re.compile(r" / | over |^ceiling|^value of|^as trained")
_OWN = re.compile(r"(?P<quantity>.*): landscope(?P<kind>(, (products|peak memory))?)$")


def page() -> str:
    """The page, from the tables as they are."""
    pages = " and ".join(f"`{name}`" for name in _PAGES)
    parts = [_HEAD.format(pages=pages)]
    for name in _PAGES:
        for table in (_RESULTS / name).read_text().split("\n## ")[1:]:
            if rows := list(_rows(table)):
                heading = "| quantity | alternative | landscope | the alternative | alternative / landscope | note |"
                lines = [f"## {table.splitlines()[0]}", "", heading, "|---|---|---|---|---|---|"]
                parts.append("\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n")
    return "\n".join(parts)


def _rows(table: str) -> Iterator[tuple[str, ...]]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    for quantity, value, _ in cells:
        if own := _OWN.match(quantity):
            kind = own["kind"]
            other = re.compile(re.escape(own["quantity"]) + r": (?P<name>(?!landscope).*?)" + re.escape(kind) + "$")
            for name, theirs, note in cells:
                found = other.match(name)
                if not found or _NO_ALTERNATIVE.search(found["name"]):
                    continue
                if not kind and name.endswith((", products", ", peak memory")):
                    continue
                ratio = "–" if theirs == "not measured" else f"{_number(theirs) / _number(value):.3g}"
                yield own["quantity"] + kind, found["name"], _median(value), _median(theirs), ratio, note


def _median(value: str) -> str:
    """The value without its range."""
    return re.sub(r" \(.*", "", value)


def _number(value: str) -> float:
    number, _, unit = _median(value).partition(" ")
    return float(number) * _UNITS[unit]


if __name__ == "__main__":
    sys.stdout.write(page())
