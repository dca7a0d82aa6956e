"""What a few samples of a study's data tell of its loss, before anything is measured of all of them."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Generator

import torch
from torch import Tensor

from landscope.derivatives import SecondDerivativeError
from landscope.errors import LandscopeError
from landscope.parameters import ParameterSpace
from landscope.risk import EmpiricalRisk
from landscope.seeded import seeded
from landscope.study.curvature_matrix import curvature_matrix
from landscope.study.first_samples import first_samples
from landscope.study.parts import Need
from landscope.study.subject import Subject

__all__ = ["SECOND_DERIVATIVES", "quietly", "risk_of_few", "without_second_derivatives"]

SECOND_DERIVATIVES: tuple[Need, ...] = ("curvature", "hessian", "hessian_of_layers")
"""Needs for which torch must have second derivatives of the loss."""


@contextlib.contextmanager
def quietly() -> Generator[None]:
    """Leave the random state as it is, and say nothing: the analysis says it, of all data."""
    with seeded(0), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def risk_of_few(subject: Subject, space: ParameterSpace) -> EmpiricalRisk | None:
    """The loss landscape of the first samples; None where they cannot be taken, or have no loss of their own."""
    few = first_samples(subject.data, collated=subject.losses is None)
    if few is None:
        return None
    try:
        return dataclasses.replace(subject, data=few).risk(subject.model, space)
    except LandscopeError:
        return None  # a function may need all samples at once; record() and the analysis say what is wrong


def without_second_derivatives(subject: Subject | None, space: ParameterSpace | None) -> frozenset[Need]:
    """The needs that the loss does not meet: the Hessian, or any curvature, of the weights, or of any layer.

    Args:
        subject: The model with its loss and data.
        space: The recorded weights; None where they are not known yet. Then only what holds for any weights counts:
            what the loss does after the last layer.
    """
    if subject is None:
        return frozenset()
    names = ParameterSpace.of(subject.model).names
    last = ParameterSpace.of(subject.model, [names[-1]])
    with quietly():
        risk = risk_of_few(subject, last if space is None else space)
        if risk is None or _has(lambda vector: risk.hessian_vector_product(risk.w0, vector), risk):
            return frozenset()
        found: set[Need] = {"hessian"}
        if not _has(lambda vector: curvature_matrix(risk)[1](vector), risk):
            found.add("curvature")
        of_last = risk if space is None else risk_of_few(subject, last)
        if of_last is not None and not _has(lambda v: of_last.hessian_vector_product(of_last.w0, v), of_last):
            found.add("hessian_of_layers")
        return frozenset(found)


def _has(product: Callable[[Tensor], Tensor], risk: EmpiricalRisk) -> bool:
    """Whether torch has the second derivatives of a product; other errors come again, in the analysis."""
    try:
        product(torch.ones_like(risk.w0))
    except SecondDerivativeError:
        return False
    except Exception:  # noqa: BLE001 - of the user's model
        return True
    return True
