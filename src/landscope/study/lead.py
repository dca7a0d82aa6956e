"""The first sentences of the page of a study: what was measured, how it compares, and what follows."""

from __future__ import annotations

from typing import Any

from landscope.report.limits import PROCESS_LIMIT, PROCESS_LIMIT_IS, RUN_LIMIT, RUN_LIMIT_IS
from landscope.wording import band_text

__all__ = ["lead_of"]

_MANY = 5
"""With fewer draws, Student's quantile makes the range of one more at least 1.5 times as wide as that of many draws."""
_ALIKE = 0.1
"""Difference of two exponents of one run below which no more is said."""
_SHUFFLED = {
    "inside": "so it cannot be told apart from what steps in random order give, which feel no landscape: by itself it "
    "is no evidence of an effect of the landscape",
    "above": "so steps in random order do not give so large an exponent: the order of the steps raises it",
    "below": "so steps in random order give a larger exponent than the training: the order of the steps lowers it",
}
_PROCESS = {
    "inside": "so it cannot be told apart from what noise, curvature and the length of the window give by themselves",
    "above": "so noise, curvature and the length of the window do not give so large an exponent: the training has "
    "something that this process does not have, such as a drift or another order of its minibatches",
    "below": "so noise, curvature and the length of the window would give a larger exponent: the training has "
    "something that lowers it",
}
"""What follows from the place of the exponent of the window against the range of a null."""


def lead_of(summary: dict[str, Any]) -> list[str]:
    """What the numbers of a study mean, in sentences computed from the numbers.

    Args:
        summary: The numbers, see :func:`landscope.study.summary.summary_of`.
    """
    share, few = 100 * summary["first_mode_share"], summary["modes_for_90_percent"]
    sentences = [
        f"In {summary['window_rows']:,} recorded steps, {share:.1f} % of the variance of the "
        f"{summary['weights']:,} weights lies along one direction. "
        + (f"Of the rest, 90 % lies in modes 2 to {few}." if few > 1 else "Along all others they do not move.")
    ]
    psi, fresh = summary["psi"], summary["psi_fresh"]
    if psi != psi:
        return [
            *sentences,
            "The exponent ψ of variance against flatness was not measured: too few modes have a measurable flatness. "
            "A loss that cannot rise by a factor of e, like that of a language model, needs a smaller ratio, such as "
            "1.1.",
            *_of_the_recording(summary),
        ]
    direction = "less" if psi > 0 else "more"
    law = f"In this window the weights fluctuate {direction} along flatter directions: ψ = {psi:.2f}."
    law += "" if fresh != fresh else f" Along the same modes in fresh data ψ = {fresh:.2f}."
    return [
        *sentences,
        law,
        *_against(
            "The same analysis of the window's steps in random order",
            psi, summary["psi_null"], summary["psi_null_band"], _SHUFFLED, "n_nulls",
        ),
        *_process(summary),
        *_without_end(summary),
        *_caveats(summary),
    ]  # fmt: skip


def _against(
    null: str, psi: float, draws: list[float], band: tuple[float, float], follows: dict[str, str], setting: str
) -> list[str]:
    """What a null gives, where the exponent of the window lies, and what follows; nothing without a draw.

    Args:
        null: The null, as the subject of a sentence.
        psi: Exponent of the window.
        draws: Exponents of the null.
        band: Where one further draw lies with 95 %.
        follows: What follows from each place of the exponent.
        setting: Setting that makes more draws.
    """
    made = [value for value in draws if value == value]
    if not made:
        return []
    if len(made) == 1 or band[0] != band[0]:
        return [
            f"{null} gives ψ = {made[0]:.2f} in its only draw, and the window has {_distance(psi - made[0])}. One draw "
            f"does not show how far draws differ, so nothing follows: set {setting} to 3 or more."
        ]
    low, high = band
    said = (
        f"{null} gives ψ = {band_text((min(made), max(made)))} in {len(made)} draws; one more draw would give "
        f"{low:.2f} to {high:.2f} (95 %{'; a wide range, as the draws are few' if len(made) < _MANY else ''})."
    )
    if low <= psi <= high:
        return [f"{said} The {psi:.2f} of the window lies within this range, {follows['inside']}."]
    place = "above" if psi > high else "below"
    far = psi - high if psi > high else low - psi
    return [f"{said} The {psi:.2f} of the window lies {far:.2f} {place} this range, {follows[place]}."]


def _distance(difference: float) -> str:
    return f"{abs(difference):.2f} {'more' if difference > 0 else 'less'}"


def _process(summary: dict[str, Any]) -> list[str]:
    """The exponent beside that of a stationary process with the run's noise and curvature, where it was made."""
    sentences = _against(
        "A stationary process with the noise of the run and the curvature of the landscape, in a window of the same "
        "length and along its own modes,",
        summary["psi"], summary["psi_process"], summary["psi_process_band"], _PROCESS, "n_processes",
    )  # fmt: skip
    later = [value for value in summary["psi_process_fresh"] if value == value]
    if sentences and later:
        sentences[0] += f" In its next window the process gives ψ = {band_text((min(later), max(later)))}."
    return sentences


def _without_end(summary: dict[str, Any]) -> list[str]:
    """The exponents of a window without end, each with what it is."""
    sentences = []
    infinity, of_run = summary["psi_infinity_of_process"], summary["psi_infinity_of_run"]
    if infinity == infinity:
        if summary["rate_changed"]:
            sentences.append(
                "The learning rate was not constant: the process takes the rate of each step, and a direction relaxes "
                "by the sum of αλ over the steps."
            )
        sentences.append(
            f"Along {summary['limit_directions']}, which the variance did not choose, the window shows ψ = "
            f"{summary['psi_along_curvature']:.2f}, and the process, with {summary['limit_order']}, "
            f"{summary['psi_along_curvature_expected']:.2f}{_along_flat(summary)}. {PROCESS_LIMIT} = "
            f"{summary['psi_infinity_of_process_in_words']}. {PROCESS_LIMIT_IS}"
        )
    if of_run == of_run:
        interval = _interval(summary["psi_infinity_of_run_interval"])
        sentences.append(f"{RUN_LIMIT} = {of_run:.2f}{interval}. {RUN_LIMIT_IS}")
    return sentences


def _along_flat(summary: dict[str, Any]) -> str:
    """Where the window has another exponent than the process along the same directions, what the difference is."""
    expected, (low, high) = summary["psi_along_curvature_expected"], summary["psi_along_curvature_interval"]
    more = expected - summary["psi_along_curvature"]
    if not abs(more) >= _ALIKE or low <= expected <= high:  # without an interval, low and high are NaN
        return ""
    how = "more" if more > 0 else "less"
    return f": next to its motion along sharp directions, the window moves {how} along flat ones than the process"


def _interval(interval: tuple[float, float]) -> str:
    low, high = interval
    return "" if low != low else f" [{low:.2f}, {high:.2f}]"


def _caveats(summary: dict[str, Any]) -> list[str]:
    sentences = [
        "A finite window can make such a law by itself: compare ψ with the process, with fresh data and with the "
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
