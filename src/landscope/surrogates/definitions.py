"""What each null keeps of a run, what it destroys, and what it means if the null shows the same exponent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["OTHER_NULLS", "WALK", "Definition"]

WALK = "isotropic random walk, N ≫ T (exact)"
"""Row of the exponent that is known without a run."""


@dataclasses.dataclass(frozen=True)
class Definition:
    """A null in words, each part the end of a sentence.

    Args:
        keeps: What it has in common with the run.
        destroys: What it does not have.
        agreement: What follows if it shows the same as the run.
    """

    keeps: str
    destroys: str
    agreement: str

    def __str__(self) -> str:
        return f"keeps {self.keeps}; destroys {self.destroys}. The same exponent means: {self.agreement}."


OTHER_NULLS: Mapping[str, Definition] = MappingProxyType(
    {
        "same modes, fresh data": Definition(
            "the run, its modes and their flatness",
            "the choice of the modes: the variances are those of other steps",
            "the exponent does not come from choosing the modes in the same window",
        ),
        "one window, corrected": Definition(
            "the run, its modes and their flatness",
            "the choice of the modes: the variances are those of other steps, as this window alone predicts them",
            "the exponent does not come from choosing the modes in the same window",
        ),
        "one window, corrected, separable model": Definition(
            "the run, its modes and their flatness",
            "the choice of the modes, by random-matrix theory, as if all modes relaxed alike",
            "the exponent does not come from choosing the modes in the same window",
        ),
        "finite-window process": Definition(
            "the noise of the steps, that it sums to zero over an epoch where it does, the curvature of the landscape, "
            "the learning rate and the length of the window",
            "everything else: the process is stationary, and its loss is a bowl",
            "noise, curvature and the length of the window are enough to make it",
        ),
        "finite-window process, its next window": Definition(
            "the same process, and the modes of its first window",
            "the choice of the modes: the variances are those of the next window",
            "what the run shows in fresh data needs no more than this process",
        ),
        "equilibrium: isotropic Langevin, Hessian eigenvectors": Definition(
            "the curvature of the landscape, the learning rate and the length of the window",
            "the noise of the training: its noise is equal in all directions",
            "the exponent needs no special noise",
        ),
        WALK: Definition(
            "the number of steps", "the landscape and the noise of the training",
            "the modes of any walk without a landscape show it",
        ),
    }
)  # fmt: skip
"""Nulls and controls that need more than a window, by the name of their row in a table."""
