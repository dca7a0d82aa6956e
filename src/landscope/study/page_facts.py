"""The facts of a training on the page of a study: data, optimiser, rate, batches, window, and the loss at its end."""

from __future__ import annotations

import math
from typing import Any

from jaxtyping import Float
from torch import Tensor

from landscope.study.analysis import Analysis
from landscope.study.training_facts import TrainingFacts
from landscope.wording import number_text

__all__ = ["page_facts"]

_NO_RATE = "not known: record with study.record(optimizer)"
_NO_BATCH = "not known: ls.Study(..., batch_size=50)"
_NO_ERROR = "not measured: needs ls.Study(..., evaluate=f)"


def page_facts(analysis: Analysis, summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values of the table "What was trained".

    Args:
        analysis: The analysis.
        summary: Its numbers, see :func:`landscope.study.summary.summary_of`.
    """
    start = {True: "training error zero before it", False: "training error not zero before it", None: ""}
    window, fresh = summary["window"], summary["fresh"]
    reached = start[summary["exploration_reached"]]
    recorded, epoch = analysis.recorded.steps, summary["steps_per_epoch"]
    timings = analysis.folder.timings()
    return [
        ("Weights recorded, N", f"{summary['weights']:,} ({_some_of(summary['parameters'])})"),
        ("Optimiser", optimizer_text(analysis.facts)),
        *_moments(analysis.facts),
        (
            "Learning rate α, schedule",
            rate_text(analysis.recorded.learning_rate, analysis.window.learning_rate, analysis.learning_rate),
        ),
        ("Batch size B", f"{summary['batch_size']:,} samples" if summary["batch_size"] else _NO_BATCH),
        ("Steps in an epoch", f"{epoch:,}" if epoch else "not known: ls.Study(..., steps_per_epoch=...)"),
        ("Steps recorded", f"{int(recorded[0]):,} to {int(recorded[-1]):,}, {_every(analysis.facts.every)}"),
        ("Window", f"steps {window[0]:,} to {window[1]:,}" + (f" ({reached})" if reached else "")),
        ("Fresh data", "none" if fresh is None else f"steps {fresh[0]:,} to {fresh[1]:,}"),
        (
            "Loss L₀ at w₀" + (", the last weights of the window" if analysis.settings.w0 == "last" else ""),
            number_text(summary["loss_at_w0"]),
        ),
        ("Training error at w₀", _percent(summary["train_error_at_w0"])),
        ("Test error at w₀", _percent(summary["test_error_at_w0"])),
        ("Cosine of mode 1 and w₀", number_text(summary["alignment"], ".2f")),
        (
            "Cosine content of modes 1 to 4 (a random walk has 1)",
            ", ".join(number_text(content, ".2f") for content in summary["cosine_content"]),
        ),
        ("Time of each stage, when last done", ", ".join(f"{name} {took:.1f} s" for name, took in timings.items())),
    ]


def optimizer_text(facts: TrainingFacts) -> str:
    """The optimiser and its options, but for the learning rate.

    Example:
        >>> optimizer_text(TrainingFacts("SGD", 0.1, momentum=0.9, nesterov=True))
        'SGD, Nesterov momentum'
        >>> optimizer_text(TrainingFacts())
        'not known: record with study.record(optimizer)'
    """
    if not facts.optimizer:
        return _NO_RATE
    extra = [
        "Nesterov momentum" if facts.nesterov else "",
        f"dampening {facts.dampening:g}" if facts.dampening else "",
        "steps up the loss" if facts.maximize else "",
        "parameter groups with different options (those of the first are shown)" if facts.groups_differ else "",
    ]
    return ", ".join([facts.optimizer, *filter(None, extra)])


def _moments(facts: TrainingFacts) -> list[tuple[str, str]]:
    if not facts.optimizer:
        return []
    momentum = facts.beta1 or facts.momentum
    how = " (decoupled from the gradient)" if facts.decoupled and facts.weight_decay else ""
    return [
        ("Momentum β₁" if facts.beta1 else "Momentum β", f"{momentum:g}" if momentum else "none"),
        ("Weight decay", f"{facts.weight_decay:g}{how}" if facts.weight_decay else "none"),
    ]


def rate_text(everything: Float[Tensor, " rows"], window: Float[Tensor, " some"], known: float) -> str:
    """The learning rate, constant or scheduled.

    Args:
        everything: Learning rate of each recorded row; NaN where it is not known.
        window: The same of the rows of the window.
        known: Learning rate when recording began; NaN where it is not known.

    Example:
        >>> import torch
        >>> rates = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
        >>> rate_text(rates, rates[2:], 0.4)
        'scheduled: 0.4 at the first recorded step, 0.1 at the last; in the window 0.1 to 0.2'
        >>> rate_text(rates[:1], rates[:1], 0.4)
        '0.4, constant'
    """
    if bool(everything.isnan().any()):
        return _NO_RATE if math.isnan(known) else f"{known:g}"
    first, last, low, high = (float(x) for x in (everything[0], everything[-1], everything.min(), everything.max()))
    if low == high:
        return f"{first:g}, constant"
    own = (float(window.min()), float(window.max()))
    within = f"{own[0]:g}, constant" if own[0] == own[1] else f"{own[0]:g} to {own[1]:g}"
    beyond = "" if {low, high} == {first, last} else f", {low:g} to {high:g} between"
    return f"scheduled: {first:g} at the first recorded step, {last:g} at the last{beyond}; in the window {within}"


def _every(every: int) -> str:
    return "every step" if every == 1 else f"one row every {every:,} steps"


def _percent(value: float) -> str:
    return _NO_ERROR if math.isnan(value) else f"{100 * value:.2f} %"


def _some_of(names: list[str], most: int = 4) -> str:
    """The first names, and how many follow."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
