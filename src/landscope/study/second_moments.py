"""Second moments of an adaptive optimiser at the steps of the saved models: whether its coordinates stay the same."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from landscope.errors import InputError
from landscope.landscape.preconditioned import Preconditioner, adam_preconditioner
from landscope.parameters import ParameterSpace
from landscope.storage.archive import load, save
from landscope.study.step_files import StepFiles

__all__ = ["SecondMoments", "steady_scale"]

_MOST_DRIFT = 0.25
"""Median change of ln(sqrt(v) + eps) over a window: rates of relaxation in these coordinates are known as well."""


class SecondMoments(StepFiles):
    """The scales of the coordinates in which Adam takes plain steps, at some steps of a training.

    They take as many bytes as two copies of the recorded weights at each step, and are kept where whole models are.

    Args:
        path: Their folder.
    """

    def load(self, step: int) -> Float[Tensor, " N"]:
        """Scales s at a step, see :class:`landscope.landscape.Preconditioned`."""
        return load(self.file(step), Preconditioner).scale

    def follow(
        self, kept: Iterable[int], step: int, model: nn.Module, optimizer: torch.optim.Optimizer, space: ParameterSpace
    ) -> None:
        """Keep the scales of ``step`` if it is one of the kept steps, and drop those of steps that are no longer kept.

        Other optimisers than Adam and AdamW have none, and Adam has none before its first step.
        """
        kept = set(kept)
        self.drop(set(self.steps()) - kept)
        if step not in kept or self.file(step).exists():
            return
        try:
            found = adam_preconditioner(model, optimizer, space)
        except InputError:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        save(found, self.file(step), overwrite=True)


def steady_scale(moments: SecondMoments, first: int, last: int) -> Float[Tensor, " N"]:
    r"""The scales at the end of a window, if the second moments kept still over it.

    .. math:: \operatorname{median}_j \left| \ln \frac{\sqrt{v_j(t)} + \epsilon}{\sqrt{v_j(T)} + \epsilon} \right|
              \le 0.25

    at every saved step t from the last one at or before the begin of the window on.

    Args:
        moments: The saved scales.
        first: First step of the window.
        last: Its last step.

    Returns:
        The scales at ``last``.

    Raises:
        InputError: If they are not saved at both ends, or drifted by more.
    """
    steps = [step for step in moments.steps() if step <= last]
    before = [step for step in steps if step <= first]
    if not before or last not in steps:
        raise InputError(
            expected=f"second moments of the optimiser saved before step {first} and at step {last}",
            got=f"those of {', '.join(map(str, steps)) or 'no step'}",
            hint="study.record(optimizer) saves them with the whole models; let models be saved at both ends.",
        )
    end = moments.load(last)
    drift = {
        step: float(2 * (moments.load(step) / end).log().abs().median()) for step in steps if before[-1] <= step < last
    }
    worst = max(drift, key=lambda step: drift[step])
    if drift[worst] > _MOST_DRIFT:
        raise InputError(
            expected=f"second moments whose root changes by at most {_MOST_DRIFT:.0%} over the window (median)",
            got=f"a change of {drift[worst]:.0%} between steps {worst} and {last}",
            hint="The coordinates in which the optimiser takes plain steps move; choose a later or a shorter window.",
        )
    return end
