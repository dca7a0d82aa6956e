"""Trainings whose loss comes to rest, by weight decay or by noise of the labels, and their windows."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from landscope.directions.directions import Directions
from landscope.directions.hessian_eigenvectors import leading_eigenvectors
from landscope.directions.moving import moving
from landscope.landscape import flatness
from landscope.law.run_limit import RunLimit, run_limit
from landscope.noise.effective_curvature import effective_curvature_at
from landscope.parameters import ParameterSpace
from landscope.power_law import fit_power_laws_resampled
from landscope.protocols import ProgressCallback
from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.training import train
from landscope.results import Result, stamp
from landscope.risk.empirical import EmpiricalRisk
from landscope.trajectory import Trajectory

__all__ = ["DECAY", "LABEL_NOISE", "RESTS", "Plateau", "Rest", "RestingTraining", "noisy_cross_entropy"]

Rest = Literal["weight-decay", "label-noise"]
"""What brings the loss to rest."""
RESTS: tuple[Rest, ...] = get_args(Rest)
DECAY = 0.01
"""Weight decay: every direction is pulled back in 1/(alpha 0.01) steps at most, and the loss comes to rest."""
LABEL_NOISE = 0.1
"""Share of the labels that every minibatch draws anew: the mean loss is cross-entropy with as much label smoothing."""
BURN_IN = 10
"""Relaxation times of the slowest direction before the window."""
POINTS = 500
_FEWEST = 3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Plateau(Result, kind="plateau", dims={"loss": ("point",), "psi": ("length",), "psi_relaxation": ("length",)}):
    """Facts of a training at rest.

    Args:
        rest: What brings the loss to rest.
        sampling: Order of the minibatches.
        seed: Seed of the training.
        relaxations: Length of the window in relaxation times of the slowest direction.
        loss: Training loss at points spread evenly over the window.
        psi: Exponent of the variance in windows of each length, over all directions that move.
        psi_relaxation: The exponent that H_ii with decay gives, in the same order of the minibatches; with label noise
            for independent noise.
    """

    rest: str
    sampling: str
    seed: int
    relaxations: float
    loss: Float[Tensor, " n"]
    psi: Float[Tensor, " lengths"]
    psi_relaxation: Float[Tensor, " lengths"]

    @property
    def loss_change(self) -> float:
        """Mean loss of the second half of the window over that of the first, minus 1."""
        first, second = self.loss.tensor_split(2)
        return float(second.mean() / first.mean()) - 1


def noisy_cross_entropy(
    outputs: Float[Tensor, "b classes"], labels: Tensor, *, share: float, generator: torch.Generator
) -> Tensor:
    r"""Cross-entropy of each sample, with a share of the labels drawn anew from all classes in every call.

    Its mean over draws is cross-entropy with label smoothing: :math:`(1 - s) \ell_y + s\,\overline{\ell}_c`.

    Args:
        outputs: Outputs of the network.
        labels: Right labels.
        share: Share s of the labels that are drawn anew.
        generator: Source of the draws.

    Example:
        >>> outputs, labels = torch.tensor([[2.0, 0.0]]).expand(20_000, 2), torch.zeros(20_000, dtype=torch.long)
        >>> generator = torch.Generator().manual_seed(0)
        >>> found = noisy_cross_entropy(outputs, labels, share=0.2, generator=generator).mean()
        >>> expected = F.cross_entropy(outputs, labels, label_smoothing=0.2)
        >>> bool(abs(found / expected - 1) < 0.05)
        True
    """
    anew = torch.rand(labels.shape, generator=generator) < share
    drawn = torch.randint(outputs.shape[1], labels.shape, generator=generator)
    return F.cross_entropy(outputs, torch.where(anew.to(labels.device), drawn.to(labels), labels), reduction="none")


class RestingTraining:
    """A training before and during the window in which its loss rests.

    Args:
        experiment: The training.
        rest: What brings the loss to rest.
        relaxations: Length of the window in relaxation times of the slowest direction, 1/(alpha 0.01) steps.
        count: Most directions.
        progress: Called with the completed epochs.
    """

    def __init__(
        self, experiment: Experiment, rest: Rest, relaxations: int, count: int, progress: ProgressCallback
    ) -> None:
        self._experiment, self._rest, self._count, self._progress = experiment, rest, count, progress
        self._model, self._rate = experiment.network(), experiment.settings.learning_rate
        self._decay = DECAY if rest == "weight-decay" else 0.0
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=self._rate, weight_decay=self._decay)
        self._criterion, self._noisy = experiment.criterion, experiment.criterion
        if rest == "label-noise":
            self._criterion = functools.partial(F.cross_entropy, label_smoothing=LABEL_NOISE)
            self._noisy = functools.partial(
                noisy_cross_entropy, share=LABEL_NOISE,
                generator=torch.Generator().manual_seed(experiment.settings.seed),
            )  # fmt: skip
        self._relaxations, self._space = relaxations, ParameterSpace.of(self._model, experiment.selection)
        per_epoch, slowest = experiment.order.batches_per_epoch, 1 / (self._rate * DECAY)
        self._before, self._during = (max(1, math.ceil(n * slowest / per_epoch)) for n in (BURN_IN, relaxations))
        self._per_epoch = per_epoch

    def measure(self) -> tuple[Plateau, RunLimit]:
        """Train to the end, and compare the window with relaxation."""
        experiment = self._experiment
        epochs = train(self._model, self._noisy, experiment.train_data, self._optimizer, experiment.order)
        for epoch in epochs:
            self._progress(epoch.number, self._before + self._during)
            if epoch.number == self._before:
                break
        risk = EmpiricalRisk(self._model, self._criterion, experiment.train_data, space=self._space)
        directions, w0 = self._directions(risk), risk.w0.clone()
        coordinates, forces, losses = self._record(epochs, directions, w0)
        axes = Directions.of(torch.eye(len(directions)), values=directions.values + self._decay)
        settings, points = experiment.settings, self._points(len(coordinates))
        widths = flatness(
            _Penalised(risk, self._decay), w0, directions.directions.to(w0), ratio=settings.ratio, rtol=settings.rtol
        )
        # Labels drawn anew are independent noise, whatever the order of the minibatches.
        in_epochs = self._rest == "weight-decay" and settings.sampling == "reshuffled"
        limit = run_limit(
            axes, Trajectory.of(coordinates), widths,
            effective_curvature_at(
                coordinates[points], forces, local_curvature=axes.values, directions=directions.name
            ),
            learning_rate=self._rate, steps_per_epoch=self._per_epoch if in_epochs else None,
        )  # fmt: skip
        facts = Plateau(
            rest=self._rest, sampling=settings.sampling, seed=settings.seed, relaxations=float(self._relaxations),
            loss=losses, psi=_exponents_of(limit.width, limit.variance),
            psi_relaxation=_exponents_of(limit.width, limit.predicted_local),
            provenance=stamp(**settings.model_dump(mode="json"), rest=self._rest),
        )  # fmt: skip
        return facts, limit

    def _directions(self, risk: EmpiricalRisk) -> Directions:
        """Eigenvectors of the Gauss-Newton matrix, as stiff as the slowest direction of the window or stiffer."""
        # Smoothed labels have the same matrix, for it does not depend on the labels.
        plain = EmpiricalRisk(self._model, self._experiment.criterion, self._experiment.train_data, space=self._space)
        fisher, count = plain.fisher_information(), min(self._count, risk.w0.numel() - 1)
        found = leading_eigenvectors(
            lambda vector: fisher.product(risk.w0, vector), risk.w0, count, name="Gauss-Newton eigenvectors", seed=0
        )
        return found.part(slice(max(_FEWEST, int((found.values + self._decay >= DECAY).sum()))))

    def _points(self, rows: int) -> Tensor:
        return torch.linspace(0, rows - 1, min(POINTS, rows)).round().long()

    def _record(self, epochs: object, directions: Directions, w0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Coordinates after each step; forces with decay and losses at some of them."""
        rows, basis = self._during * self._per_epoch, directions.directions.to(w0)
        coordinates = torch.empty(rows, len(directions), dtype=torch.float64)
        wanted, forces, losses = set(self._points(rows).tolist()), [], []
        step = 0

        def after_step(*_: object) -> None:
            nonlocal step
            w = self._space.flatten(self._model)
            coordinates[step] = (basis @ (w - w0)).double()
            if step in wanted:
                loss, slope = self._gradient()
                losses.append(loss)
                forces.append((basis @ (slope + self._decay * w)).double())
            step += 1

        handle = self._optimizer.register_step_post_hook(after_step)
        try:
            for epoch in epochs:  # ty: ignore[not-iterable]
                self._progress(epoch.number, self._before + self._during)
                if step == rows:
                    break
        finally:
            handle.remove()
        return coordinates, torch.stack(forces), torch.tensor(losses, dtype=torch.float64)

    def _gradient(self) -> tuple[float, Tensor]:
        """Loss on all training data, and its gradient in the selected weights with all weights where they are."""
        inputs, labels = self._experiment.train_data
        tensors = self._space.tensors(self._model)
        with torch.enable_grad():
            loss = self._criterion(self._model(inputs), labels).mean()
            slopes = torch.autograd.grad(loss, tensors)
        return float(loss.detach()), torch.cat([slope.flatten() for slope in slopes])


def _exponents_of(width: Tensor, variances: Tensor) -> Tensor:
    """Psi of each row of variances, over the directions that move and have a flatness within reach."""
    used = torch.isfinite(width) & torch.isfinite(variances).all(dim=0) & moving(variances[-1].nan_to_num())
    if int(used.sum()) < _FEWEST:
        return torch.full((len(variances),), math.nan, dtype=torch.float64)
    return -fit_power_laws_resampled(width[used], variances[:, used])


class _Penalised:
    """The loss with the penalty of weight decay: what the training descends.

    Args:
        risk: The loss.
        decay: Weight decay.
    """

    def __init__(self, risk: Callable[[Tensor], Tensor], decay: float) -> None:
        self._risk, self._decay = risk, decay

    def __call__(self, w: Tensor) -> Tensor:
        """The loss of w plus half the decay times its square."""
        return self._risk(w) + self._decay / 2 * w.double().square().sum(dim=-1).to(w)
