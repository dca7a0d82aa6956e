"""Numbers that pages quote from tables of results: the list, and how one is compared."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs/results"
LIST = Path(__file__).parent / "quoted_numbers.txt"
_NUMBER = re.compile(r"(?<![\w.])[-\u2212]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")
_MEASURED = re.compile(
    r"(?<![\w.-])[-\u2212]?\d+\.\d+(?:e[+-]?\d+)?(?![\w.]*\d)"
    r"|(?<![\w.-])[-\u2212]?\d+(?= %| points?\b| ?\u00b1)"
)
_NOT_PROSE = re.compile(
    r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|\]\([^)]*\)|arXiv \d+\.\d+|^#.*?$", re.DOTALL | re.MULTILINE
)


@dataclasses.dataclass(frozen=True)
class Quote:
    """A piece of a page with numbers, and the cells that hold them; no cells for numbers that are no results."""

    page: str
    fragment: str
    file: str = ""
    row: str = ""
    columns: tuple[str, ...] = ()
    factor: float = 1.0


def quotes() -> list[Quote]:
    """All lines of the list, by page."""
    found, page = [], ""
    for number, line in enumerate(LIST.read_text().splitlines(), 1):
        if line.startswith("["):
            page = line.strip("[]")
        elif line and not line.startswith("#"):
            fragment, arrow, source = line.partition(" => ")
            parts = [part.strip() for part in source.split(" :: ")]
            assert arrow, f"{LIST.name}, line {number}: no ' => '"
            if parts[0].startswith("given:"):
                found.append(Quote(page, fragment))
                continue
            assert len(parts) in (3, 4), f"{LIST.name}, line {number}: file :: row :: columns, and perhaps a factor"
            columns = tuple(column.strip() for column in parts[2].split(";"))
            found.append(Quote(page, fragment, parts[0], parts[1], columns, float(parts[3]) if parts[3:] else 1.0))
    return found


def numbers(text: str) -> list[str]:
    """The numbers of a text as they are written."""
    return _NUMBER.findall(text)


def prose(page: str) -> str:
    """The text of a page, or of one section as "PAGE # HEADING", without code, formulas and targets of links.

    There is one space for each white space.
    """
    name, _, section = page.partition(" # ")
    text = (ROOT / name).read_text()
    if section:
        text = re.split(r"\n## ", text.partition(f"## {section}\n")[2])[0]
    return re.sub(r"\s+", " ", _NOT_PROSE.sub(" ", text))


def tables(file: str) -> list[tuple[str, dict[str, str]]]:
    """Every row of every table of a file: its heading and cells as one text, and its cells by column.

    A second column of the same name has " (2)" behind it.
    """
    found, heading, columns = [], "", None
    for line in (RESULTS / file).read_text().splitlines():
        if line.startswith("#"):
            heading, columns = line.lstrip("# "), None
        elif not line.startswith("|"):
            columns = None
        elif columns is None:
            columns = _distinct(_cells(line))
        elif set(line) - set("|-: "):
            cells = _cells(line)
            found.append((f"{heading} > {' | '.join(cells)}", dict(zip(columns, cells, strict=True))))
    return found


def _distinct(names: list[str]) -> list[str]:
    return [f"{name} ({n})" if (n := names[: place + 1].count(name)) > 1 else name for place, name in enumerate(names)]


def _cells(line: str) -> list[str]:
    return [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def values(quote: Quote) -> list[float]:
    """The numbers of the cells of a quote, in the order of its columns."""
    parts = [part.strip() for part in quote.row.split(" & ")]
    rows = [cells for name, cells in tables(quote.file) if all(part in name for part in parts)]
    assert len(rows) == 1, f"{quote.file} has {len(rows)} rows with {quote.row!r}; name more of it, with ' & ' between"
    missing = [column for column in quote.columns if column not in rows[0]]
    assert not missing, f"{quote.file}, {quote.row!r}: no column {missing}; there are {list(rows[0])}"
    found = []
    for column in quote.columns:
        cell = [quote.factor * _value(number) for number in numbers(rows[0][column])]
        found += [cell[0], *cell[:0:-1]] if quote.factor < 0 and len(cell) == 3 else cell
    return found


def _value(number: str) -> float:
    return float(number.replace("\u2212", "-").replace(",", ""))


def same(written: str, value: float) -> bool:
    """Whether a number as it is written is a value rounded to its digits."""
    digits = written.partition("e")[0].partition(".")[2]
    power = int(written.partition("e")[2] or 0)
    return abs(_value(written) - value) <= 0.5000001 * 10.0 ** (power - len(digits))


def in_order(written: list[str], values: list[float]) -> bool:
    """Whether the numbers that are written are some of the values, in their order."""
    rest = iter(values)
    return all(any(same(number, value) for value in rest) for number in written)


def without_source(page: str, known: list[Quote]) -> list[str]:
    """Measured numbers of a page that no quote holds, with the words around them."""
    text = prose(page)
    covered = [
        match.span() for quote in known if quote.page == page for match in re.finditer(re.escape(quote.fragment), text)
    ]
    return [
        text[max(match.start() - 40, 0) : match.end() + 20]
        for match in _MEASURED.finditer(text)
        if not any(low <= match.start() and match.end() <= high for low, high in covered)
    ]
