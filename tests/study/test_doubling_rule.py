"""The finite-window process on digits: twice the samples or eigenpairs move psi within its interval."""

import dataclasses

import pytest
import torch

import landscope as ls
from landscope.directions.hessian_eigenvectors import leading_eigenvectors
from landscope.law.exponents import ranks_to_measure, variance_flatness
from landscope.law.intervals import seed_interval
from landscope.reproduction.experiment.experiment import Experiment
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.experiment.training import train
from landscope.risk.empirical import EmpiricalRisk
from landscope.study.settings import AnalysisSettings
from landscope.surrogates import finite_window_process, rest_curvature

BEFORE, EPOCHS = 100, 50
FITTED, MEASURED, DRAWS = (2, 300), 60, 4
EIGENPAIRS = AnalysisSettings().curvature_modes


@dataclasses.dataclass
class Run:
    """The window of a training on digits at its end."""

    experiment: Experiment
    model: torch.nn.Module
    space: ls.ParameterSpace
    window: ls.Trajectory


@pytest.fixture(scope="module")
def run():
    """A perceptron at zero training error, and 1,500 steps of it."""
    experiment = Experiment(Settings(data="digits", sampling="with-replacement"))
    model = experiment.network()
    space, rows = ls.ParameterSpace.of(model, experiment.selection), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in train(model, experiment.criterion, experiment.train_data, optimizer, experiment.order):
        if epoch.number == BEFORE:
            optimizer.register_step_post_hook(lambda *_: rows.append(space.flatten(model).clone()))
        if epoch.number == BEFORE + EPOCHS:
            break
    return Run(experiment, model, space, ls.Trajectory.of(torch.stack(rows)))


def exponents_of_draws(run, samples, eigenpairs):
    """Psi of draws of the process; flatness always on all data, so that only the process changes."""
    inputs, labels = run.experiment.train_data
    few, every = (
        EmpiricalRisk(run.model, run.experiment.criterion, (inputs[:n], labels[:n]), space=run.space)
        for n in (samples, len(labels))
    )
    fisher, w0 = few.fisher_information(), every.w0
    product = lambda vector: fisher.product(w0, vector.to(w0))  # noqa: E731
    curvature = leading_eigenvectors(product, w0, eigenpairs, name="Gauss-Newton eigenvectors", seed=0)
    rest = rest_curvature(run.window, curvature, product, seed=0)
    found = []
    for seed in range(DRAWS):
        made = finite_window_process(run.window, curvature, rest=rest, seed=seed, learning_rate=0.1)
        modes = ls.principal_modes(made, FITTED[1])
        ranks = ranks_to_measure(FITTED[1], FITTED, MEASURED)
        widths = ls.flatness(every, w0, modes.directions[ranks - 1].to(w0))
        found.append(variance_flatness(modes, made, widths, FITTED, ranks=ranks, spectrum_ranks=(10, 100)).psi)
    return found


@pytest.mark.slow
def test_twice_the_samples_or_eigenpairs_move_psi_within_its_interval(run):
    count = len(run.experiment.train_data[1])
    few_samples, usual, more_pairs = (
        exponents_of_draws(run, samples, pairs)
        for samples, pairs in ((count // 2, EIGENPAIRS), (count, EIGENPAIRS), (count, 2 * EIGENPAIRS))
    )
    for before, after in ((few_samples, usual), (usual, more_pairs)):
        low, high = seed_interval(before)
        assert low <= sum(after) / DRAWS <= high
