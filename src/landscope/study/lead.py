"""The first sentences of the page of a study."""

from __future__ import annotations

from typing import Any

__all__ = ["lead_of"]


def lead_of(summary: dict[str, Any]) -> list[str]:
    """What the numbers of a study mean, in sentences computed from the numbers.

    Args:
        summary: The numbers, see :func:`landscope.study.summary.summary_of`.
    """
    share, few = 100 * summary["first_mode_share"], summary["modes_for_90_percent"]
    sentences = [
        f"Over {summary['window_rows']:,} recorded steps the {summary['weights']:,} weights have {share:.1f} % of "
        f"their variance along one direction; of the rest, 90 % lies in modes 2 to {few}."
    ]
    psi, fresh = summary["psi"], summary["psi_fresh"]
    if psi != psi:
        return [
            *sentences,
            "Too few modes have a measurable flatness: the variance-flatness law could not be fitted. A loss that "
            "cannot rise by a factor of e, like that of a language model, needs a smaller ratio, such as 1.1.",
            *_of_the_recording(summary),
        ]
    direction = "less" if psi > 0 else "more"
    law = f"In this window the weights fluctuate {direction} along flatter directions: ψ = {psi:.2f}"
    law += "." if fresh != fresh else f"; along the same modes in fresh data ψ = {fresh:.2f}."
    return [*sentences, law + _null_sentence(summary), *_without_end(summary), *_caveats(summary)]


def _null_sentence(summary: dict[str, Any]) -> str:
    low, high = summary["psi_null_band"]
    null = [value for value in summary["psi_null"] if value == value]
    if not null:
        return ""
    if low != low:
        return f" The same analysis of the window's steps in random order gives {null[0]:.2f}."
    values = ", ".join(f"{value:.2f}" for value in null)
    inside = low <= summary["psi"] <= high
    verdict = "inside: steps in random order give this exponent too" if inside else "outside"
    return (
        f" The same analysis of the window's steps in random order gives {values}; one more random order would give "
        f"{low:.2f} to {high:.2f} (95 %). The exponent of the window lies {verdict}."
    )


def _without_end(summary: dict[str, Any]) -> list[str]:
    """What a stationary process with the run's noise and curvature shows, where it was made."""
    infinity = summary["psi_infinity"]
    process = [value for value in summary["psi_process"] if value == value]
    later = [value for value in summary["psi_process_fresh"] if value == value]
    sentences = []
    if process:
        sentences.append(
            "A stationary process with the noise of the run and the curvature of the landscape, in a window as long, "
            f"gives ψ = {_listed(process)} along its own modes"
            + _band_sentence(summary)
            + (f" In its next window it gives {_listed(later)}." if later else "")
        )
    if infinity == infinity:
        low, high = summary["psi_infinity_interval"]
        if summary["rate_changed"]:
            sentences.append(
                "The learning rate was not constant: the process takes the rate of each step, and a direction relaxes "
                "by the sum of αλ over the steps."
            )
        sentences.append(
            f"Along {summary['limit_directions']} ψ = {summary['psi_along_curvature']:.2f} in the window; such a "
            f"process would show {summary['psi_along_curvature_expected']:.2f} there, and ψ∞ = {infinity:.2f}"
            + (f" [{low:.2f}, {high:.2f}]" if low == low else "")
            + ", its exponent in a window without end."
        )
    return sentences


def _listed(values: list[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def _band_sentence(summary: dict[str, Any]) -> str:
    """Whether the exponent of the window is one that the process gives too."""
    low, high = summary["psi_process_band"]
    if low != low:
        return "; one draw is no band."
    inside = low <= summary["psi"] <= high
    verdict = "inside: noise, curvature and the length of the window give it too" if inside else "outside"
    return f"; one more would give {low:.2f} to {high:.2f} (95 %). The exponent of the window lies {verdict}."


def _caveats(summary: dict[str, Any]) -> list[str]:
    sentences = [
        "A finite window can make such a law by itself: read ψ beside the process, beside fresh data and beside the "
        "steps in random order."
    ]
    if summary["fresh"] is None:
        sentences.append("Only one window was analysed: nothing here was checked in fresh data.")
    if summary["exploration_reached"] is False:
        sentences.append(
            "The training error was not zero when the window began, so this is not the paper's exploration phase."
        )
    return [*sentences, *_of_the_recording(summary)]


def _of_the_recording(summary: dict[str, Any]) -> list[str]:
    return [f"{caveat[0].upper()}{caveat[1:]}." for caveat in summary["caveats"]]
