"""Part of the dynamics: twin trainings from the end of the window, one of them kicked along a mode."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import TracebackType

import torch
from torch import Tensor, nn

from landscope._checks import check_hooked
from landscope.errors import InputError
from landscope.noise.response import DirectResponse, direct_response
from landscope.noise.springs import spring_ranks
from landscope.optimizer_steps import ends_step, shared_rate
from landscope.parameters import ParameterSpace
from landscope.protocols import ProgressCallback
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.checkpoints import fresh_copy
from landscope.study.parts import Part
from landscope.study.training_facts import TrainingFacts, facts_of
from landscope.study.training_on import call_train_on

__all__ = ["response_parts"]

_REPETITIONS = 4
_KICK = 0.1
"""Size of a kick over the standard deviation of the mode in the window."""
_FIRST_SEED = 1000
"""Added to the seed of the analysis; the other trainings that go on draw other minibatches."""
_MIN_MODES = 3


class _Components:
    """Keeps the components of the displacement after each step, in place of the weights.

    Args:
        model: The model in training.
        optimizer: Its optimiser.
        space: The recorded weights.
        directions: Directions of the components, ``[k, N]``.
        origin: Weights from which displacements count.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, space: ParameterSpace, directions: Tensor,
        origin: Tensor,
    ) -> None:  # fmt: skip
        self._optimizer, self._tensors = check_hooked(optimizer), space.tensors(model)
        self._directions, self._origin = directions, origin
        selected = {id(tensor) for tensor in self._tensors}
        groups = [
            group for group in optimizer.param_groups if any(id(tensor) in selected for tensor in group["params"])
        ]
        if not groups:
            raise InputError(
                expected="an optimiser of the recorded weights", got="one that holds none of them",
                hint="Make it from the parameters of the model that train_on is given.",
            )  # fmt: skip
        self._groups, self.facts = groups, facts_of(optimizer, groups, 1)
        self.rows: list[Tensor] = []
        self.rates: list[float] = []

    def __enter__(self) -> _Components:
        self._hook = self._optimizer.register_step_post_hook(self._after_step)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._hook.remove()

    def note_loss(self, loss: Tensor | float) -> None:
        """Losses are not kept here; a loop that notes them for a recorder may go on."""

    def _after_step(self, *_: object) -> None:
        if not ends_step(self._optimizer):
            return
        weights = torch.cat([tensor.detach().reshape(-1) for tensor in self._tensors]).cpu().double()
        self.rows.append(self._directions @ (weights - self._origin))
        self.rates.append(shared_rate(self._groups))


@dataclasses.dataclass
class _Twins:
    """Trainings from one model after another, each with its kicked twins."""

    analysis: Analysis
    directions: Tensor
    n_steps: int
    progress: Callable[[], None]
    facts: TrainingFacts | None = None

    def train(self, model: nn.Module, kick: Tensor, origin: Tensor, seed: int) -> Tensor:
        """Components of the way of a model that starts displaced by a kick, ``[T, k]``; the model is trained."""
        space = self.analysis.space
        space.assign(model, space.flatten(model).cpu().double() + kick @ self.directions)
        start = self.directions @ (space.flatten(model).cpu().double() - origin)

        kept, _ = call_train_on(
            self.analysis, model, lambda optimizer: _Components(model, optimizer, space, self.directions, origin),
            sampling="with-replacement", n_steps=self.n_steps, seed=seed, compare=False,
        )  # fmt: skip
        rows = kept.rows[: self.n_steps]
        if len(rows) < self.n_steps:
            raise InputError(
                expected=f"{self.n_steps} steps of the training that goes on", got=f"{len(rows)}",
                hint="Let train_on take all n_steps steps inside `with record(optimizer):`.",
            )  # fmt: skip
        self.facts = _with_one_rate(kept)
        self.progress()
        return torch.stack([start, *rows])

    def kicked(self, model: nn.Module, kick: Tensor, origin: Tensor, seed: int) -> Tensor:
        """Component i of the ways of copies kicked along i, to both sides, ``[2, T, k]``."""
        sides = []
        for sign in (1, -1):
            ways = [
                self.train(fresh_copy(model), sign * single, origin, seed)[:, i]
                for i, single in enumerate(torch.diag(kick))
            ]
            sides.append(torch.stack(ways, dim=1))
        return torch.stack(sides)


def _with_one_rate(kept: _Components) -> TrainingFacts:
    """What is known of the steps; NaN for a learning rate that was not one number."""
    rate = kept.rates[0] if len(set(kept.rates)) == 1 else float("nan")
    return dataclasses.replace(kept.facts, learning_rate=rate)


def _rate_of(facts: TrainingFacts) -> float | None:
    """The learning rate of SGD; None where a step is not the sum of forces times it."""
    is_known = facts.learning_rate > 0  # NaN is not
    return facts.learning_rate if facts.is_heavy_ball and is_known else None


def _response(analysis: Analysis) -> DirectResponse:
    """The response along log-spaced modes.

    It trains (4 + 10 k) n steps for k modes and n steps a run: four repetitions, one after another, each with 2 k
    kicked twins, and 2 k twins with half the kick in the first. Only k components of a step are kept.
    """
    settings = analysis.settings
    ranks, modes = spring_ranks(analysis.load(saved.FLATNESS), settings.response_modes), analysis.load(saved.MODES)
    if len(ranks) < _MIN_MODES:
        raise InputError(
            expected=f"at least {_MIN_MODES} modes with a flatness within reach, to kick along", got=f"{len(ranks)}",
            hint="Train longer, or measure the flatness of more modes.",
        )  # fmt: skip
    total, progress = _REPETITIONS * (1 + 2 * len(ranks)) + 2 * len(ranks), analysis.progress
    directions = modes.directions[ranks - 1].cpu().double()
    twins = _Twins(analysis, directions, settings.response_steps, _counter(progress, total))
    kick = _KICK * modes.values[ranks - 1].cpu().double().sqrt()
    model = analysis.model_at(analysis.windows.step)
    unkicked, kicked, halved = [], [], []
    for repetition in range(_REPETITIONS):
        seed, origin = settings.seed + _FIRST_SEED + repetition, analysis.space.flatten(model).cpu().double()
        kicked.append(twins.kicked(model, kick, origin, seed))
        if repetition == 0:
            halved.append(twins.kicked(model, kick / 2, origin, seed))
        model = fresh_copy(model)  # trained on, it is the start of the next repetition
        unkicked.append(twins.train(model, torch.zeros_like(kick), origin, seed))
    facts = twins.facts or analysis.facts
    found = direct_response(
        torch.stack(unkicked), torch.stack(kicked), torch.stack(halved), kick, learning_rate=_rate_of(facts),
        momentum=facts.momentum if facts.optimizer == "SGD" else 0.0,
    )  # fmt: skip
    return dataclasses.replace(found, ranks=ranks)


def _counter(progress: ProgressCallback, total: int) -> Callable[[], None]:
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    return count


def response_parts() -> tuple[Part, ...]:
    """The direct response of the training to kicks along its modes."""
    return (Part(saved.RESPONSE, _response, needs=("train_on",), after=(saved.FLATNESS,), is_optional=True),)
