"""How the optimiser of a study relaxes: its step, and the coordinates in which that step is plain."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from landscope.errors import InputError
from landscope.noise.step_rule import StepRule
from landscope.study.analysis import Analysis
from landscope.study.curvature_matrix import curvature_matrix
from landscope.study.second_moments import SecondMoments, steady_scale
from landscope.study.training_facts import TrainingFacts
from landscope.trajectory import Trajectory

__all__ = ["Relaxation", "is_adaptive", "relaxation_of", "step_rule_of"]

_ADAPTIVE = ("Adam", "AdamW")


def is_adaptive(facts: TrainingFacts) -> bool:
    """Whether the optimiser takes plain steps in coordinates of its own."""
    return facts.optimizer in _ADAPTIVE


def step_rule_of(facts: TrainingFacts) -> StepRule:
    """The linear step of the optimiser, in the coordinates in which it is plain.

    Raises:
        InputError: If it is not known.
    """
    if facts.optimizer not in ("SGD", *_ADAPTIVE) or facts.maximize or facts.groups_differ:
        unusual = "options that differ between the recorded weights" if facts.groups_differ else "maximize=True"
        raise InputError(
            expected="SGD, Adam or AdamW, which descends with one set of options for all recorded weights",
            got=(facts.optimizer or "no optimiser that is known")
            if facts.optimizer not in ("SGD", *_ADAPTIVE)
            else f"{facts.optimizer} with {unusual}",
            hint="How other steps relax to a minimum is not worked out.",
        )
    if is_adaptive(facts):
        decay = facts.weight_decay if _is_decoupled(facts) else 0.0
        return StepRule(momentum=facts.beta1, gradient_share=1 - facts.beta1, decoupled_decay=decay)
    return StepRule(momentum=facts.momentum, gradient_share=1 - facts.dampening, nesterov=facts.nesterov)


def _is_decoupled(facts: TrainingFacts) -> bool:
    return facts.optimizer == "AdamW" or facts.decoupled


@dataclasses.dataclass(frozen=True)
class Relaxation:
    """The motion of the recorded weights towards w0.

    Args:
        rule: Step of the optimiser.
        scale: Scales s of the coordinates y = s w in which it is plain; None where these are the weights.
        decay: Weight decay that passes through the optimiser as a part of the gradient.
        product: Product v -> C v with the curvature of the loss and this decay, in these coordinates.
        name: Name of the curvature.
    """

    rule: StepRule
    scale: Float[Tensor, " N"] | None
    decay: float
    product: Callable[[Float[Tensor, " N"]], Float[Tensor, " N"]]
    name: str

    def scaled(self, window: Trajectory) -> Trajectory:
        """A window in the coordinates of the plain steps."""
        return window if self.scale is None else window.scaled(self.scale)

    def back(self, made: Trajectory, like: Trajectory) -> Trajectory:
        """A trajectory in the coordinates of the plain steps, in the weights."""
        return made if self.scale is None else dataclasses.replace(made.scaled(1 / self.scale), space=like.space)


def relaxation_of(analysis: Analysis) -> Relaxation:
    """The relaxation of a study's weights.

    Raises:
        InputError: If the optimiser is not known, or its second moments drifted in the window or were not kept.
    """
    facts, steps, risk = analysis.facts, analysis.window.steps, analysis.risk
    rule, (name, product) = step_rule_of(facts), curvature_matrix(risk)
    if not is_adaptive(facts):
        decay = facts.weight_decay
        return Relaxation(rule, None, decay, lambda v: product(v.to(risk.w0)).cpu() + decay * v.cpu(), name)
    scale = steady_scale(SecondMoments(analysis.folder.path / "second-moments"), int(steps[0]), int(steps[-1]))
    decay = 0.0 if _is_decoupled(facts) else facts.weight_decay

    def scaled_product(vector: Tensor) -> Tensor:
        inner = vector.cpu().double() / scale
        return ((product(inner.to(risk.w0)).cpu().double() + decay * inner) / scale).to(vector)

    return Relaxation(rule, scale, decay, scaled_product, f"{name}, preconditioned,")
