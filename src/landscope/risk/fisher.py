"""The Fisher information of a model about its selected weights: its diagonal and its products."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from landscope._checks import (
    check_choice,
    check_count,
    check_one_point,
    check_seed,
    check_vector,
    device_with_float64,
    for_float64,
    generator_of,
)
from landscope.errors import InputError
from landscope.full_precision import in_full_precision
from landscope.parameters import ParameterSpace
from landscope.risk.answers import Answers
from landscope.risk.derivatives import mean_gradient
from landscope.risk.evaluation import BlockLosses, BlockOutputs, on_all_data
from landscope.risk.gauss_newton import has_padding, through_outputs
from landscope.risk.output_curvature import curvature_slopes, curvature_times
from landscope.risk.output_samples import check_own_outputs, known_samples, n_losses, own_slopes, samples_of
from landscope.risk.outputs import ClosureOutputs, CriterionOutputs, Outputs, OutputSource, output_source
from landscope.risk.sample_axes import SampleAxes
from landscope.risk.sample_gradients import SampleGradients, SampleSlopes, Slopes
from landscope.risk.weighted_losses import total_weight
from landscope.risk.whole_losses import ClosureLosses

__all__ = ["FisherInformation", "FisherKind"]

FisherKind = Literal["auto", "exact", "monte-carlo", "random-signs", "empirical", "batch-mean", "gauss-newton"]
"""What the gradients are of: all answers of the model, one by one or with random signs; answers drawn from it; or the
targets of the data. See ``FisherInformation.diagonal``."""

_FEW_ANSWERS, _MOST_ANSWERS = 100, 4096
"""Answers of a sample up to which ``"auto"`` goes through all of them at any cost, and up to which at a low cost."""
_LOW_COST = 1e11
"""Answers times samples times weights: 5 to 20 seconds on one core."""
_DRAWS = 10


_OF_SAMPLES = (
    "Return the loss of each sample, or (losses, weights) with one weight for each sample, as "
    'language_model_losses(model(...), labels) does. The methods "mas" and "l2" need no losses of single samples.'
)
"""What to do where a function gives one loss for a batch."""

_IN_WORDS: dict[FisherKind, str] = {
    "exact": "exact Fisher information",
    "monte-carlo": "Fisher information by {n_draws} draws for each sample",
    "random-signs": "Fisher information by random signs of all answers, drawn for each sample (n_draws = {n_draws})",
    "empirical": "empirical Fisher information, of the targets of the data",
    "batch-mean": "mean squares of gradients of minibatches",
    "gauss-newton": "Gauss-Newton matrix",
}


@in_full_precision
@dataclasses.dataclass(frozen=True)
class FisherInformation:
    r"""What the answers of a model say about its weights.

    .. math:: \mathcal F(w) = \frac1M \sum_k \mathbb E_{y \sim p(y | x_k)}\, g_{ky}\, g_{ky}^\top,
              \qquad g_{ky} = \nabla \ln p(y | x_k)

    The distribution p of the answers is that whose negative log-likelihood is the loss: classes by softmax for
    cross-entropy (also of soft labels, pixels and tokens), independent bits for ``BCEWithLogitsLoss``, normal answers
    of variance 1/2 for ``MSELoss`` and of the predicted variance for ``GaussianNLLLoss``, and any distribution for
    :class:`landscope.NegativeLogLikelihood`. Where the risk is a mean over several answers of a sample, so is F. For
    cross-entropy and the squared error it is also the generalised Gauss-Newton matrix, and near a solution the
    Hessian. Made by :meth:`landscope.EmpiricalRisk.fisher_information`.

    Args:
        blocks: Data and model.
        model: The model that they evaluate.
        space: Selected weights.
        like: Weights on the device and in the dtype of the model.
        answers: Distribution of the answers; None where it is not known.
        by_layers: Whether diagonals are taken layer by layer from the inputs of layers, where that is possible, or from
            the gradients of single samples. By default the way with fewer multiplications is taken: layers with one
            position of each sample, many answers or much data are faster by layers.

    Example:
        >>> import torch
        >>> from landscope import EmpiricalRisk
        >>> model = torch.nn.Linear(1, 2, bias=False)
        >>> risk = EmpiricalRisk(model, torch.nn.CrossEntropyLoss(), (torch.ones(4, 1), torch.tensor([0, 1, 0, 1])))
        >>> [round(x, 6) for x in risk.fisher_information().diagonal(torch.zeros(2)).tolist()]
        [0.25, 0.25]
    """

    blocks: BlockLosses = dataclasses.field(repr=False)
    model: nn.Module = dataclasses.field(repr=False)
    space: ParameterSpace
    like: Float[Tensor, " N"] = dataclasses.field(repr=False)
    answers: Answers | None = dataclasses.field(default=None, repr=False)
    by_layers: bool | None = None

    @property
    def knows_answers(self) -> bool:
        """Whether the distribution of the answers is known; if not, only the targets of the data are left."""
        return self.answers is not None and isinstance(self.blocks, BlockOutputs)

    @on_all_data()
    def diagonal(
        self,
        w: Float[Tensor, " N"],
        kind: FisherKind = "exact",
        *,
        batch_size: int = 50,
        n_draws: int = _DRAWS,
        seed: int = 0,
        names: Sequence[str] | None = None,
    ) -> Float[Tensor, " n"]:
        r"""The diagonal, :math:`\mathcal F_{jj}`.

        Args:
            w: Where.
            kind: ``"exact"``, the expectation above, by one backward pass for each answer; ``"monte-carlo"``, its
                unbiased estimate from answers drawn from the model; ``"random-signs"``, its unbiased estimate
                from the sum over all answers y of :math:`\pm \sqrt{p(y)}\, g_y`, with a random sign for each sample and
                answer, of smaller variance than draws; ``"empirical"``, the sum of the squared gradients
                of the losses of single samples, by their own targets, over the weight of all; ``"batch-mean"``, the
                mean square of gradients of minibatches, as some programs take it, smaller by up to the batch size;
                ``"gauss-newton"``, the diagonal of the matrix of :meth:`gauss_newton_product`; ``"auto"``, exact for at
                most 100 answers of a sample, and up to 4096 where answers times samples times weights are at most
                1e11; by draws for more; or empirical where the distribution is not known. :meth:`taken` says which.
            batch_size: Samples in a minibatch, for ``"batch-mean"`` only.
            n_draws: Answers drawn, or sums with random signs, for each sample. The error falls with the square root of
                the number of samples times draws.
            seed: Seed of the draws or signs.
            names: Parameters whose entries are taken, in this order; all selected ones by default.

        Returns:
            The diagonal in float64, ``[N]`` or of the named parameters alone.

        Raises:
            InputError: If the kind needs the distribution of the answers or one loss for each sample, and the risk
                does not know it.
        """
        w = self._checked("w", w)
        check_count("batch_size", batch_size)
        check_count("n_draws", n_draws)
        check_seed(seed)
        if check_choice("kind", kind, get_args(FisherKind)) == "batch-mean":
            squares = self._mean_squares_of_batches(w, batch_size)
            return squares if names is None else squares[self.space.columns(names).to(squares.device)]
        source = self._source()
        slopes = self.slopes(source, w, kind, n_draws=n_draws, seed=seed)
        return self.sample_gradients(source, names).sums(w, slopes) / self.weight(w)

    def sample_gradients(
        self, source: OutputSource | None = None, names: Sequence[str] | None = None
    ) -> SampleGradients:
        """Sums over samples of powers of their gradients, for all selected parameters or some of them."""
        return SampleGradients(source or self._source(), self.model, self.space, self.by_layers, names)

    def _source(self) -> OutputSource:
        """The outputs of a model; one that is a single layer is called as a whole, since tracing looks inside it."""
        return output_source(self.blocks, None if any(True for _ in self.model.children()) else self.model)

    def slopes(
        self, source: OutputSource, w: Float[Tensor, " N"], kind: FisherKind, *, n_draws: int = _DRAWS, seed: int = 0
    ) -> SampleSlopes:
        """The slopes along the outputs of every sample whose squares through the model add up to the matrix.

        Raises:
            InputError: If the kind needs the distribution of the answers or one loss for each sample, and the risk
                does not know it.
        """
        check_count("n_draws", n_draws, minimum=1)
        parameters = self.space.unflatten(w.detach())
        if (kind := self.resolved(kind, source, w)) == "gauss-newton":
            hint = "Return the loss of each sample, or take a product, which needs no single samples."
            return self._curvature(
                source, lambda outputs, block: known_samples(source, parameters, block, outputs, hint)
            )
        if kind == "empirical":
            return self._empirical(source, w, parameters)
        answers = self._known_answers(source)

        def axes(outputs: Outputs, _: int) -> SampleAxes:
            return SampleAxes.rows(outputs.tensors)  # the answers in different rows are independent

        if kind == "exact":
            return SampleSlopes(
                axes,
                lambda outputs, block: ((own, None) for own in answers.slopes(outputs, source.targets(block))),
                lambda outputs, _: answers.n_slopes(outputs),
            )
        first = generator_of(seed)
        seeds = torch.randint(2**31, (source.n_blocks,), generator=first).tolist()

        draw = answers.drawn if kind == "monte-carlo" else answers.mixed

        def drawn(outputs: Outputs, block: int) -> Iterator[Slopes]:
            generator = torch.Generator().manual_seed(seeds[block])  # the same draws for all weights
            for _ in range(n_draws):
                one = draw(outputs, source.targets(block), generator)
                yield [slope / math.sqrt(n_draws) for slope in one], None

        return SampleSlopes(axes, drawn, lambda _outputs, _block: n_draws)

    @staticmethod
    def _curvature(source: OutputSource, axes: Callable[[Outputs, int], SampleAxes]) -> SampleSlopes:
        def slopes(outputs: Outputs, block: int) -> Iterator[Slopes]:
            samples, loss = axes(outputs, block), _loss(source, outputs, block)
            views = samples.first(outputs.tensors)
            for along, weights in curvature_slopes(lambda views: loss(samples.back(views)), views):
                yield samples.back(along), weights

        def count(outputs: Outputs, block: int) -> int:
            return sum(view[0].numel() for view in axes(outputs, block).first(outputs.tensors))

        return SampleSlopes(axes, slopes, count)

    def _empirical(self, source: OutputSource, w: Tensor, parameters: dict[str, Tensor]) -> SampleSlopes:
        """The slopes of the losses; one sample after another, where it cannot be told which outputs are whose."""
        are_sums = self._checked_sums(w)
        if isinstance(source, ClosureOutputs):
            check_own_outputs(source, parameters)

        def axes(outputs: Outputs, block: int) -> SampleAxes:
            if are_sums:
                return known_samples(source, parameters, block, outputs, _OF_SAMPLES)
            found = samples_of(source, parameters, block, outputs)
            return found or SampleAxes.whole(outputs.tensors, n_losses(source, outputs, block))

        def slopes(outputs: Outputs, block: int) -> Iterator[Slopes]:
            if samples_of(source, parameters, block, outputs) is not None:
                yield from _by_targets(source, outputs, block)
            else:
                yield from ((own, None) for own in own_slopes(source, outputs, block))

        def count(outputs: Outputs, block: int) -> int:
            is_known = samples_of(source, parameters, block, outputs) is not None
            return 1 if is_known else n_losses(source, outputs, block)

        return SampleSlopes(axes, slopes, count)

    def resolved(self, kind: FisherKind, source: OutputSource, w: Float[Tensor, " N"]) -> FisherKind:
        """The kind itself; for ``"auto"`` the one that it stands for here."""
        if kind != "auto":
            return kind
        if self.answers is None or not self.knows_answers:
            return "empirical"
        parameters, block = self.space.unflatten(w), source.largest_block
        with torch.no_grad():
            outputs = source.outputs(parameters, block)
        count = self.answers.n_slopes(outputs)
        cost = count * self.space.dim * sum(source.count(number) or 1 for number in range(source.n_blocks))
        few = count <= _FEW_ANSWERS or (count <= _MOST_ANSWERS and cost <= _LOW_COST)
        return "exact" if few else "monte-carlo"

    def taken(self, w: Float[Tensor, " N"], kind: FisherKind = "auto", *, n_draws: int = _DRAWS) -> str:
        """What a kind of Fisher information stands for here, in words.

        Args:
            w: Where.
            kind: The kind.
            n_draws: Answers or random signs drawn for each sample.
        """
        if check_choice("kind", kind, get_args(FisherKind)) == "auto":
            kind = self.resolved(kind, self._source(), self._checked("w", w))
        return _IN_WORDS[kind].format(n_draws=n_draws)

    @on_all_data()
    def output_sensitivity(self, w: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        r"""How much each weight moves the outputs f.

        .. math:: \Omega_j = \frac1M \sum_k \Big| \frac{\partial |f(x_k)|^2}{\partial w_j} \Big|

        It knows no labels, and any outputs will do (Aljundi et al., ECCV 2018, arXiv 1711.09601, Eq. 3 and Sec. 4.1).
        Of several outputs, f is those that the loss is computed from.
        """
        w, source = self._checked("w", w), self._source()
        parameters, counts = self.space.unflatten(w), {}

        def axes(outputs: Outputs, block: int) -> SampleAxes:
            hint = "Return one loss for each sample, or keep the samples on the first axis of the outputs."
            found = known_samples(source, parameters, block, outputs, hint)
            counts[block] = found.count
            return found

        def slopes(outputs: Outputs, _: int) -> Iterator[Slopes]:
            yield [2 * tensor for tensor in outputs.tensors], None

        return self.sample_gradients(source).sums(w, SampleSlopes(axes, slopes), power=1) / sum(counts.values())

    @on_all_data()
    def product(self, w: Float[Tensor, " N"], vector: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        r"""The product :math:`\mathcal F(w)\, v` with the exact matrix: J' H J v, summed over samples.

        H is the Fisher information of a sample's outputs, such as diag(p) - p p' for classes of probabilities p.

        Raises:
            InputError: If the risk does not know the distribution of the answers.
        """
        source = output_source(self.blocks)
        answers = self._known_answers(source)
        w, vector = self._checked("w", w), self._checked("vector", vector)
        return through_outputs(
            source, self.space, w, vector,
            lambda outputs, change, block: answers.product(outputs, change, source.targets(block)),
            forward_mode=not has_padding(self.model),
        )  # fmt: skip

    @on_all_data()
    def gauss_newton_product(self, w: Float[Tensor, " N"], vector: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        r"""The product with the generalised Gauss-Newton matrix of any loss that can be differentiated twice.

        .. math:: G\, v = \frac1M \sum_k J_k^\top \frac{\partial^2 d_k}{\partial f_k^2} J_k\, v

        (Schraudolph 2002, Eq. 9). It is the Hessian without the second derivatives of the model, and has no negative
        eigenvalue where the loss is convex in the outputs. A loss of straight pieces, such as the absolute error, has
        none. What a function of ``from_closure`` adds beside the outputs of the model does not count.

        Raises:
            InputError: If the loss is not computed from what the model returns.
        """
        w, vector, source = self._checked("w", w), self._checked("vector", vector), output_source(self.blocks)

        def curved(outputs: Outputs, change: list[Tensor], block: int) -> list[Tensor]:
            return curvature_times(_loss(source, outputs, block), outputs.tensors, change)

        padded = has_padding(self.model)
        return through_outputs(source, self.space, w, vector, curved, forward_mode=not padded)

    def _checked_sums(self, w: Tensor) -> bool:
        """Whether a function gives one sum for a batch; its slope along the outputs of a sample is that of the sample.

        Raises:
            InputError: If it does, and is not the sum over the samples.
        """
        if isinstance(self.blocks, BlockOutputs) or not isinstance(self.blocks, ClosureLosses):
            return False
        parameters = self.space.unflatten(w)
        with torch.no_grad():
            losses, weight = self.blocks.losses(parameters, 0)
            if len(losses) != 1 or total_weight(weight) <= 1:
                return False
            if self.blocks.adds_up(parameters):
                return True
        raise InputError(
            expected="losses of single samples, or a sum over the samples of a batch",
            got="one loss for a batch, which is not known to be the sum over its samples", hint=_OF_SAMPLES,
        )  # fmt: skip

    def _mean_squares_of_batches(self, w: Tensor, batch_size: int) -> Tensor:
        count = sum(self.blocks.sizes) if isinstance(self.blocks, BlockOutputs) else round(self.weight(w))
        check_count("batch_size", batch_size, maximum=count)
        batches = torch.arange(count // batch_size * batch_size, device=w.device).view(-1, batch_size)
        squares = torch.zeros(self.space.dim, dtype=torch.float64, device=device_with_float64(w.device))
        for batch in batches:
            squares += for_float64(mean_gradient(self.blocks, self.space, w, batch)).double().square()
        return squares / len(batches)

    def _checked(self, name: str, w: Tensor) -> Tensor:
        found = check_vector(name, w, dim=self.space.dim, device=self.like.device, dtype=self.like.dtype)
        return check_one_point(name, found)

    def weight(self, w: Tensor) -> float:
        """The sum of the weights of all losses, which is the number of samples or of counted tokens."""
        parameters = self.space.unflatten(w)
        with torch.no_grad():
            return sum(total_weight(self.blocks.losses(parameters, block)[1]) for block in range(self.blocks.n_blocks))

    def _known_answers(self, source: OutputSource) -> Answers:
        if self.answers is not None and isinstance(source, CriterionOutputs):
            return self.answers
        raise InputError(
            expected="a loss that is known as a negative log-likelihood: cross-entropy without class weights, the "
            "squared error, BCEWithLogitsLoss without weights, GaussianNLLLoss, language_model_losses or "
            "ls.NegativeLogLikelihood",
            got="another criterion, one with class weights or pos_weight, or a risk made by from_closure",
            hint='Take the Fisher information "empirical" or "gauss-newton", or pass '
            "ls.NegativeLogLikelihood(distribution) as the criterion.",
        )  # fmt: skip


def _loss(source: OutputSource, outputs: Outputs, block: int) -> Callable[[Sequence[Tensor]], Tensor]:
    """The sum of the losses of a block as a function of its output tensors."""
    return lambda tensors: source.losses(outputs, tensors, block)[0].sum()


def _by_targets(source: OutputSource, outputs: Outputs, block: int) -> Iterator[Slopes]:
    """The slope of the loss of each sample along its outputs."""
    tensors = [tensor.clone().requires_grad_() for tensor in outputs.tensors]
    with torch.enable_grad():
        yield torch.autograd.grad(_loss(source, outputs, block)(tensors), tensors), None
