"""Parts of an analysis: each is a result of its own, so that a killed analysis resumes where it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from landscope.results import Result
from landscope.study.saved import Saved

if TYPE_CHECKING:
    from landscope.study.analysis import Analysis

__all__ = ["NEEDS", "Need", "Part", "Stage"]

Need = Literal[
    "fresh",
    "minibatches",
    "epochs",
    "checkpoints",
    "evaluate",
    "history",
    "train_on",
    "learning_rate",
    "even_rows",
    "curvature",
    "hessian",
    "hessian_of_layers",
]
_SECOND = (
    "second derivatives of the loss, and torch has none of an operation in it, as in nn.CTCLoss or nn.MultiMarginLoss: "
    "write it in operations that have them"
)
NEEDS: dict[Need, str] = {
    "fresh": "fresh data: a second window of recorded steps",
    "minibatches": "the batch size of the training: ls.Study(..., batch_size=50), or a DataLoader as data",
    "epochs": "the steps in an epoch: ls.Study(..., steps_per_epoch=...)",
    "checkpoints": "whole models saved during the training, at least three",
    "evaluate": "errors of a model: ls.Study(..., evaluate=f) with f(model) -> {'test_error': ...}",
    "history": "losses during the training: ls.Study(..., evaluate=f) with f(model) -> {'train_loss': ...}",
    "train_on": "training on from the end of the window: ls.Study(..., train_on=f)",
    "even_rows": "rows at even distances in optimiser steps, as study.record(optimizer) makes them",
    "learning_rate": "the learning rate, which study.record(optimizer) notes and checkpoints do not say",
    "curvature": _SECOND,
    "hessian": _SECOND,
    "hessian_of_layers": _SECOND,
}
"""What a part may need beyond a recording and a loss, in the words of the page."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One result of a stage.

    Args:
        result: The result.
        make: ``make(analysis)`` computes it.
        needs: What it needs beyond a recording and a loss.
        after: Other results that it is made from.
        uses: Needs and results that it uses where they are there; it is made again where they came later.
        is_optional: Whether a model that does not fit, or a computation that fails, is a reason to leave it out, and
            not an error.
        lost_note: ``lost_note(analysis)`` names a note that the part leaves beside its result and that is not there;
            empty where all are.
        draw: Name of the draw of a null that it is measured on; empty where it is of none. Parts of one draw are made
            together, and each draw by any worker.
    """

    result: Saved[Any]
    make: Callable[[Analysis], Result]
    needs: tuple[Need, ...] = ()
    after: tuple[Saved[Any], ...] = ()
    uses: tuple[str, ...] = ()
    is_optional: bool = False
    lost_note: Callable[[Analysis], str] = lambda _: ""
    draw: str = ""

    @property
    def name(self) -> str:
        """Name of the result in the folder."""
        return self.result.name


@dataclasses.dataclass(frozen=True)
class Stage:
    """One step of the analysis.

    Args:
        name: Short name, as on the command line.
        title: What a person reads while it runs.
        parts: ``parts(analysis)`` lists what it makes, in order.
        pieces: Begin of the names of pieces from which a killed analysis goes on; they go when the stage is done.
    """

    name: str
    title: str
    parts: Callable[[Analysis], tuple[Part, ...]]
    pieces: str = ""
