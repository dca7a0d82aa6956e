"""Penalties from the Fisher information or a given curvature: EWC, its Kronecker-factored form, MAS, and L2."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_count, check_kind, check_seed, check_strength, check_vector
from landscope.errors import InputError
from landscope.penalties.blocks import PartPenalty, PenaltySum
from landscope.penalties.kronecker import KroneckerPenalty
from landscope.penalties.quadratic import QuadraticPenalty
from landscope.results import stamp
from landscope.risk.empirical import EmpiricalRisk
from landscope.risk.fisher import FisherKind
from landscope.risk.kronecker import KroneckerKind

__all__ = [
    "curvature_constraint",
    "distance_penalty",
    "elastic_weight_consolidation",
    "kronecker_elastic_weight_consolidation",
    "memory_aware_synapses",
]


def elastic_weight_consolidation(
    risk: EmpiricalRisk,
    w1: Float[Tensor, " N"],
    *,
    strength: float = 1.0,
    fisher: FisherKind = "auto",
    batch_size: int = 50,
    n_draws: int = 10,
    seed: int = 0,
    n_weights: int | None = None,
) -> QuadraticPenalty:
    r"""Elastic weight consolidation: hold each weight by its Fisher information (Kirkpatrick et al., PNAS 2017, Eq. 3).

    .. math:: V(w) = \frac{\lambda}{2} \sum_j \mathcal F_{jj} (w_j - w_{1j})^2

    ``strength`` is the published lambda: the factor 1/2 is in the stiffness. Weights without information, such as
    those of dead units, stay free at any strength.

    Args:
        risk: Loss of the task.
        w1: Weights at the end of the task.
        strength: Factor lambda.
        fisher: Kind of Fisher information: ``"exact"``, over all possible answers; ``"monte-carlo"``, over answers
            drawn from the model; ``"random-signs"``, over all answers with random signs; ``"empirical"`` or
            ``"batch-mean"``, the approximations of other programs; or ``"auto"``: exact for at most 100 answers of a
            sample (classes, or positions times classes), or up to 4096 where answers times samples times weights are
            at most 1e11; by draws for more; and empirical where the distribution of the answers is not known, as of
            a criterion that is no negative log-likelihood, or a risk made by ``from_closure``. See
            ``FisherInformation.diagonal``.
        batch_size: Batch size of ``"batch-mean"``.
        n_draws: Answers or random signs drawn for each sample, where they are drawn.
        seed: Seed of the draws.
        n_weights: Number of weights to hold, those of largest information (paper, Fig. 4F); all by default.

    Returns:
        The penalty, which stores 2 N values; its ``stiffness_source`` says which Fisher information was taken.

    Raises:
        InputError: If the risk has no Fisher information of this kind, or ``n_weights`` is not between 1 and N.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(1, 2, bias=False)
        >>> data = (torch.ones(4, 1), torch.tensor([0, 1, 0, 1]))
        >>> risk = EmpiricalRisk(model, torch.nn.CrossEntropyLoss(), data)
        >>> penalty = elastic_weight_consolidation(risk, torch.zeros(2))
        >>> round(float(penalty(torch.tensor([1.0, 0.0]))), 6), penalty.stiffness_source
        (0.125, 'exact Fisher information')
    """
    check_kind("the risk", risk, EmpiricalRisk, hint="Pass ls.EmpiricalRisk(model, criterion, data).")
    w1 = check_vector("w1", w1, dim=risk.space.dim)
    check_count("batch_size", batch_size)
    check_count("n_draws", n_draws)
    check_seed(seed)
    information = risk.fisher_information()
    diagonal = information.diagonal(w1, fisher, batch_size=batch_size, n_draws=n_draws, seed=seed)
    if n_weights is not None:
        diagonal = _largest(diagonal, n_weights)
    return QuadraticPenalty(
        anchor=w1.detach().clone(),
        stiffness=(diagonal / 2).to(w1),
        strength=strength,
        stiffness_source=information.taken(w1, fisher, n_draws=n_draws),
        parameters=risk.space.names,
        provenance=stamp(
            fisher=fisher, batch_size=batch_size, n_draws=n_draws, seed=seed, n_weights=n_weights, strength=strength
        ),
    )


def _largest(values: Tensor, count: int) -> Tensor:
    """The values with all but the largest set to zero."""
    if check_count("n_weights", count, minimum=1) > len(values):
        raise InputError(expected=f"n_weights of at most {len(values)}", got=f"{count}", hint="Hold fewer weights.")
    kept = values.topk(count).indices
    return torch.zeros_like(values).index_copy(0, kept, values[kept])


def kronecker_elastic_weight_consolidation(
    risk: EmpiricalRisk,
    w1: Float[Tensor, " N"],
    *,
    strength: float = 1.0,
    fisher: KroneckerKind = "auto",
    n_draws: int = 10,
    seed: int = 0,
) -> PenaltySum:
    r"""Hold each layer by its Kronecker-factored Fisher information (Ritter et al., NeurIPS 2018, arXiv 1805.07810).

    .. math:: V(w) = \frac{\lambda}{2} \sum_{layers} \mathrm{vec}(Z)^\top (A \otimes G)\, \mathrm{vec}(Z)

    with A the second moment of the inputs of a layer and G that of the gradients at its outputs, over all possible
    answers (Martens & Grosse 2015, arXiv 1503.05671; convolutions: Grosse & Martens 2016, arXiv 1602.01407).

    Args:
        risk: Loss of the task; the selected weights must belong to linear or convolutional layers.
        w1: Weights at the end of the task.
        strength: Published factor lambda; the factor 1/2 is in G.
        fisher: Kind of Fisher information, see :func:`elastic_weight_consolidation`: ``"exact"``, ``"monte-carlo"``,
            ``"random-signs"``, ``"empirical"`` or ``"auto"``.
        n_draws: Answers or random signs drawn for each sample, where they are drawn.
        seed: Seed of the draws.

    Returns:
        The sum of one penalty a layer; their ``stiffness_source`` says which Fisher information was taken.

    Raises:
        InputError: If a selected parameter belongs to another kind of layer, or a function of a batch gives no loss for
            each sample.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(1, 2, bias=False)
        >>> data = (torch.ones(4, 1), torch.tensor([0, 1, 0, 1]))
        >>> risk = EmpiricalRisk(model, torch.nn.CrossEntropyLoss(), data)
        >>> penalty = kronecker_elastic_weight_consolidation(risk, torch.zeros(2))
        >>> round(float(penalty(torch.tensor([1.0, 0.0]))), 6)
        0.125
    """
    check_kind("the risk", risk, EmpiricalRisk, hint="Pass ls.EmpiricalRisk(model, criterion, data).")
    w1 = check_vector("w1", w1, dim=risk.space.dim)
    source = risk.fisher_information().taken(w1, fisher, n_draws=n_draws)
    parts = [
        PartPenalty(
            KroneckerPenalty(
                anchor=w1.detach()[layer.columns],
                inputs=layer.inputs.to(w1),
                outputs=(layer.outputs / 2).to(w1),
                strength=strength,
                stiffness_source=source,
                provenance=stamp(fisher=fisher, n_draws=n_draws, seed=seed, strength=strength),
            ),
            layer.columns.flatten().to(w1.device),
            dim=len(w1),
            parameters=risk.space.names,
        )
        for layer in risk.kronecker_factors(w1, fisher, n_draws=n_draws, seed=seed)
    ]
    return PenaltySum(tuple(parts))


def memory_aware_synapses(risk: EmpiricalRisk, w1: Float[Tensor, " N"], *, strength: float = 1.0) -> QuadraticPenalty:
    r"""Memory-aware synapses: hold each weight by how much it moves the outputs f.

    .. math:: V(w) = \lambda \sum_j \Omega_j (w_j - w_{1j})^2, \qquad
              \Omega_j = \Big\langle \Big| \frac{\partial |f(x)|^2}{\partial w_j} \Big| \Big\rangle

    (Aljundi et al., ECCV 2018, arXiv 1711.09601, Eq. 4).

    Args:
        risk: Loss of the task; the labels are not used.
        w1: Weights at the end of the task.
        strength: Factor lambda.

    Returns:
        The penalty, which stores 2 N values.

    Raises:
        InputError: If the loss is not computed from what the model returns.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> risk = EmpiricalRisk(model, torch.nn.MSELoss(), (torch.ones(2, 1), torch.ones(2, 1)))
        >>> memory_aware_synapses(risk, torch.tensor([3.0])).stiffness.tolist()
        [6.0]
    """
    w1 = check_vector("w1", w1, dim=risk.space.dim)
    return QuadraticPenalty(
        anchor=w1.detach().clone(),
        stiffness=risk.fisher_information().output_sensitivity(w1).to(w1),
        strength=strength,
        stiffness_source="change of the outputs",
        parameters=risk.space.names,
        provenance=stamp(strength=strength),
    )


def curvature_constraint(
    w1: Float[Tensor, " N"],
    directions: Float[Tensor, "k N"],
    curvature: Float[Tensor, " k"],
    *,
    floor: float = 0.0,
    strength: float = 1.0,
    parameters: tuple[str, ...] = (),
) -> QuadraticPenalty:
    r"""Hold the weights along given directions by their curvature: the loss to second order.

    .. math:: V(w) = \frac{\lambda}{2} \sum_i h_i (p_i \cdot (w - w_1))^2

    Args:
        w1: Weights at the end of the task.
        directions: Orthonormal directions p_i, for example the leading eigenvectors of the Hessian
            (:func:`landscope.directions.hessian`) or of the Fisher information, or random directions.
        curvature: Curvatures h_i, for example the eigenvalues; negative ones count as 0.
        floor: Curvature along all other directions.
        strength: Factor lambda.
        parameters: Names of the parameters that make up w, if known.

    Returns:
        The penalty, which stores (k + 1) N values.

    Raises:
        InputError: If shapes do not fit or directions are not orthonormal.

    Example:
        >>> import torch
        >>> penalty = curvature_constraint(torch.zeros(2), torch.eye(2)[:1], torch.tensor([8.0]))
        >>> penalty(torch.tensor([1.0, 5.0])).item()
        4.0
    """
    return QuadraticPenalty(
        anchor=w1.detach().clone(),
        directions=directions.to(w1),
        stiffness=(curvature.clamp(min=0) / 2).to(w1),
        floor=check_strength("floor", floor) / 2,
        strength=strength,
        parameters=parameters,
        provenance=stamp(n_directions=len(directions), floor=floor, strength=strength),
    )


def distance_penalty(
    w1: Float[Tensor, " N"], *, strength: float = 1.0, parameters: tuple[str, ...] = ()
) -> QuadraticPenalty:
    r"""Hold all weights equally: :math:`V(w) = \lambda |w - w_1|^2`, of rank zero with a floor of 1.

    Args:
        w1: Weights at the end of the task.
        strength: Factor lambda.
        parameters: Names of the parameters that make up w, if known.

    Returns:
        The penalty, which stores N values.

    Raises:
        InputError: If the strength is negative.

    Example:
        >>> import torch
        >>> distance_penalty(torch.zeros(2), strength=0.5)(torch.tensor([1.0, 1.0])).item()
        1.0
    """
    return QuadraticPenalty(
        anchor=w1.detach().clone(),
        directions=w1.new_empty(0, len(w1)),
        stiffness=w1.new_empty(0),
        floor=1.0,
        strength=strength,
        parameters=parameters,
        provenance=stamp(strength=strength),
    )
