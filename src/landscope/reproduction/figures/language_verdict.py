"""Whether the untuned method of the library beats interpolation on both texts together: a sentence from the numbers."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from landscope.law.intervals import mean_with_interval, seed_interval
from landscope.reproduction.sequential.methods import method_label

__all__ = ["verdict"]

_OURS, _LINE = "basin-budget-at-end", "interpolation"
_RIVALS = {"none": "nothing", "ewc-empirical": "EWC at its best strength", _LINE: "interpolation at its best share"}


def verdict(losses: Mapping[str, Sequence[float]]) -> str:
    """Say which of the library's default with a budget and its rivals has the lower mean loss of both texts.

    Args:
        losses: Mean of the losses of both texts by method, one for each seed, all methods with the same seeds; empty
            if a method is missing.

    Example:
        >>> losses = {"none": [1.9, 1.92], "ewc-empirical": [1.91, 1.9], "interpolation": [1.84, 1.85]}
        >>> verdict({**losses, "basin-budget-at-end": [1.83, 1.84]}).partition(" in ")[0]
        'The default of `ls.keep` with a budget of 5 % that is held at the end of the training has a lower loss,'
        >>> verdict({**losses, "basin-budget-at-end": [1.85, 1.86]}).partition(";")[0]
        'Interpolation between old and new weights is better than the default of `ls.keep` with a budget of 5 %'
        >>> verdict({})
        ''
    """
    if _OURS not in losses or any(rival not in losses for rival in _RIVALS):
        return ""
    ours = losses[_OURS]
    wins = {rival: _n_lower(ours, losses[rival]) for rival in _RIVALS}
    counts = ", ".join(
        f"than {words} in {wins[rival]} of {len(ours)} seeds ({_difference(ours, losses[rival])})"
        for rival, words in _RIVALS.items()
    )
    label = "The default of `ls.keep` with a budget of 5 % that is held at the end of the training"
    if all(count == len(ours) for count in wins.values()):
        return f"{label} has a lower loss, in the mean of both texts, {counts}."
    better = [method for method in losses if statistics.fmean(losses[method]) < statistics.fmean(ours)]
    if _LINE in better or wins[_LINE] < len(ours):
        low, _ = seed_interval([a - b for a, b in zip(ours, losses[_LINE], strict=True)])
        found = "is better than" if low > 0 else "is not told apart from"
        return (
            f"Interpolation between old and new weights {found} the default of `ls.keep` with a budget of 5 %; it "
            "needs no penalty, so try `landscope.memory.interpolation` first. In the mean of both texts the default "
            f"with its budget has a lower loss {counts}."
        )
    names = ", ".join(method_label(method) for method in better) or "none in the mean over seeds"
    return f"{label} has a lower loss, in the mean of both texts, {counts}; better: {names}."


def _n_lower(ours: Sequence[float], theirs: Sequence[float]) -> int:
    return sum(a < b for a, b in zip(ours, theirs, strict=True))


def _difference(ours: Sequence[float], theirs: Sequence[float]) -> str:
    return f"difference {mean_with_interval([a - b for a, b in zip(ours, theirs, strict=True)], '.3f')}"
