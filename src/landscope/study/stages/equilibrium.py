"""Parts of the controls: thermal equilibrium at the run's own learning rate, in a window as long as the run's."""

from __future__ import annotations

import dataclasses

import torch

from landscope.directions.directions import Directions
from landscope.landscape import LossProfiles
from landscope.landscape.curvature import near_profiles, second_differences
from landscope.law.equilibrium import Equilibrium, difference_of_exponents, equilibrium
from landscope.law.exponents import Exponents, fit_exponents
from landscope.noise.mode_statistics import mode_statistics
from landscope.study import saved
from landscope.study.analysis import Analysis
from landscope.study.minibatch_order import order_shown
from landscope.study.parts import Part
from landscope.study.training_facts import check_heavy_ball
from landscope.surrogates.equilibrium import relaxing_process, walk_beside
from landscope.threads import one_thread
from landscope.trajectory import Trajectory

__all__ = ["EQUILIBRIUM_ROW", "equilibrium_parts"]

EQUILIBRIUM_ROW = "equilibrium: isotropic Langevin, Hessian eigenvectors"
_EXCESS = 5e-4
"""Thermal energy over L0: k T/2 summed over the directions, so small that the loss is a bowl if it is smooth."""


def _near_profiles(analysis: Analysis) -> LossProfiles:
    basis, widths = analysis.load(saved.basis("hessian")), analysis.load(saved.basis_flatness("hessian"))
    return near_profiles(analysis.risk, analysis.risk.w0, basis, widths)


def _momentum(analysis: Analysis) -> float:
    """The momentum of the run: the control takes the steps of the same optimiser."""
    check_heavy_ball(analysis.facts, hint="The steps of other optimisers are not those of isotropic noise in a bowl.")
    return analysis.facts.momentum


def _equilibrium(analysis: Analysis) -> Equilibrium:
    """The exponents of many draws, and a short walk in the loss itself that checks the bowl."""
    basis, widths = analysis.load(saved.basis("hessian")), analysis.load(saved.basis_flatness("hessian"))
    settings, momentum = analysis.settings, _momentum(analysis)
    curvature = second_differences(analysis.load(saved.PROFILES_NEAR))
    with one_thread():  # the bits must not depend on the number of threads
        found = equilibrium(
            curvature, widths, len(analysis.window), learning_rate=analysis.learning_rate, momentum=momentum,
            every=analysis.facts.every, steps_per_epoch=order_shown(analysis.window, basis, analysis).steps_per_epoch,
            seed=settings.seed,
        )  # fmt: skip
        used, pull = found.used, curvature[found.used].clamp(min=0)
        if not bool(used.any()):
            return found
        # k T/2 = _EXCESS L0, and <zeta^2> = 2 alpha T (1 - beta) to first order in alpha lambda.
        temperature = 2 * _EXCESS * widths.loss0 / len(pull)
        noise = torch.full_like(pull, 2 * analysis.learning_rate * temperature * (1 - momentum))
        start = relaxing_process(
            pull, noise, 1, learning_rate=analysis.learning_rate, momentum=momentum, seed=settings.seed
        )[0]
        walks = walk_beside(
            analysis.risk, analysis.risk.w0, basis.directions[used].to(analysis.risk.w0), pull, start, noise,
            settings.langevin_steps, learning_rate=analysis.learning_rate, momentum=momentum, seed=settings.seed,
            progress=analysis.progress,
        )  # fmt: skip
    shift = difference_of_exponents(widths.width[used], *walks)
    return dataclasses.replace(found, anharmonic=shift, n_walked=settings.langevin_steps)


def _row(analysis: Analysis) -> Exponents:
    """The first draw, through the code of every row, in the coordinates of the Hessian eigenvectors."""
    found, widths = analysis.load(saved.EQUILIBRIUM), analysis.load(saved.basis_flatness("hessian"))
    pull = torch.where(found.used, found.curvature.clamp(min=0), 0.0)
    rows = relaxing_process(
        pull, torch.ones_like(pull), len(analysis.window), learning_rate=analysis.learning_rate,
        momentum=_momentum(analysis), every=analysis.facts.every, seed=analysis.settings.seed,
    )  # fmt: skip
    statistics = mode_statistics(Directions.of(torch.eye(len(pull)).double()), Trajectory.of(rows))
    kept = dataclasses.replace(widths, bracketed=found.used)
    return fit_exponents(EQUILIBRIUM_ROW, statistics, kept, (1, len(pull)), spectrum_ranks=analysis.spectrum_ranks)


def equilibrium_parts() -> tuple[Part, ...]:
    """The curvature near w0, the exponents of equilibrium noise, and their row in the table."""
    return (
        Part(saved.PROFILES_NEAR, _near_profiles, after=(saved.basis_flatness("hessian"),)),
        Part(
            saved.EQUILIBRIUM,
            _equilibrium,
            needs=("learning_rate",),
            after=(saved.PROFILES_NEAR,),
            uses=("epochs",),
            is_optional=True,
        ),
        Part(saved.exponents("langevin"), _row, after=(saved.EQUILIBRIUM,), is_optional=True),
    )
