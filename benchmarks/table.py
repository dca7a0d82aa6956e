"""Results as Markdown."""

from __future__ import annotations

import math

__all__ = ["markdown"]


def markdown(results: dict) -> str:
    """Every row of every group, below a title and the command that measures them."""
    names = list(dict.fromkeys(group["name"] for group in results["groups"]))
    title = "Speed beside the alternatives" if len(names) > 1 else f"Speed beside the alternatives: {names[0]}"
    lines = [f"# {title}", "", f"`python -m benchmarks {' '.join(names)}`; `make bench` measures all groups.", ""]
    lines += [_heading(results), ""]
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
