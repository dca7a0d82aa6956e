"""Results as Markdown: the whole table, and the part of it that the README shows."""

from __future__ import annotations

import math
import re
from pathlib import Path

__all__ = ["markdown", "put_into", "summary"]

_START, _END = "<!-- benchmark: written by make bench -->", "<!-- end of benchmark -->"
_SHOWN = (
    r"loss at a point: .*", r".* / landscope$", r"landscope / ceiling estimate", r"flatness of .*",
    r"(CNN|residual net|transformer), .*full forward / lines",
    r"modes of .*: (landscope|scikit-learn [^,]*|scikit-learn .*float64)",
    r"record / copy", r"DataLoader loop / .*trainer", r"sweep of .*", r"derivatives of .*",
    r"velocity statistics of .*",
    r"landscope run --data \w+(, beside a busy process)?$",
)  # fmt: skip


def markdown(results: dict) -> str:
    """Every row of every group."""
    lines = [_heading(results), ""]
    for group in results["groups"]:
        lines += [
            f"## {group['name']}, {_threads(group)}{_where(group)}",
            "",
            "| quantity | value | |",
            "|---|---|---|",
        ]
        lines += [f"| {row['quantity']} | {_value(row)} | {row['note']} |" for row in group["rows"]]
        lines.append("")
    return "\n".join(lines)


def summary(results: dict) -> str:
    """The rows of the README, a column a number of threads."""
    threads = sorted({group["threads"] for group in results["groups"]})
    cells: dict[str, dict[int, str]] = {}
    notes: dict[str, str] = {}
    for group in (group for group in results["groups"] if group["device"] == "cpu"):
        for row in group["rows"]:
            if any(re.fullmatch(shown, row["quantity"]) for shown in _SHOWN):
                cells.setdefault(row["quantity"], {})[group["threads"]] = _value(row)
                notes[row["quantity"]] = row["note"]
    lines = [
        _heading(results),
        "",
        "| quantity | " + " | ".join(f"{n} thread{'s' * (n > 1)}" for n in threads) + " | |",
    ]
    lines.append("|---" * (len(threads) + 2) + "|")
    for quantity, values in cells.items():
        shown = " | ".join(values.get(n, "") for n in threads)
        lines.append(f"| {quantity} | {shown} | {notes[quantity]} |")
    return "\n".join(lines)


def put_into(path: Path, table: str) -> None:
    """Replace what stands between the marks of a page."""
    before, rest = path.read_text().split(_START)
    after = rest.split(_END)[1]
    path.write_text(f"{before}{_START}\n{table}\n{_END}{after}")


def _heading(results: dict) -> str:
    peers = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return (
        f"The paper's network on {results['data']} (60,000 samples, one hidden layer moved) unless said otherwise; "
        f"{peers}. Median (smallest to largest); ratios (x) repeat by repeat."
    )


def _threads(group: dict) -> str:
    return f"{group['threads']} thread{'s' * (group['threads'] > 1)}"


def _where(group: dict) -> str:
    return "" if group["device"] == "cpu" else f", {group['device']}"


def _value(row: dict) -> str:
    if math.isnan(row["median"]):
        return "not measured"
    middle, low, high = (_number(row[key]) for key in ("median", "low", "high"))
    unit = f" {row['unit']}" if row["unit"] else ""
    return f"{middle}{unit}" if row["repeats"] == 1 else f"{middle}{unit} ({low} to {high})"


def _number(value: float) -> str:
    if value and abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
