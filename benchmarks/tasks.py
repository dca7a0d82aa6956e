"""Twenty tasks in sequence: seconds a task, and numbers stored, early and late."""

from __future__ import annotations

import torch
from torch import nn

import landscope as ls
from benchmarks.measure import Row
from benchmarks.subject import Subject
from landscope.reproduction.experiment.networks import mlp
from landscope.reproduction.sequential.continual_result import ContinualResult
from landscope.reproduction.sequential.methods import MethodSettings, method_label
from landscope.reproduction.sequential.scenarios import n_outputs, permuted_scenario
from landscope.reproduction.sequential.task_data import SelectedOutputs
from landscope.reproduction.sequential.trainer import train_sequentially
from landscope.reproduction.sequential.training import TaskTraining

__all__ = ["tasks"]

_TASKS, _SAMPLES, _TESTED = 20, 10_000, 500
_METHODS = (("none", None), ("ldc-floor", 0.4), ("ldc-variance-factored", 4.0), ("ewc", 1e3), ("kfac", 1e3))
_TRAINING = TaskTraining(epochs=1, window_epochs=0, max_samples=1000)


def tasks(subject: Subject) -> list[Row]:
    """Seconds a task by its number, and numbers stored, of the same network on inputs in twenty orders."""
    inputs, labels = subject.data
    train, test = ((inputs[part], labels[part]) for part in (slice(_SAMPLES), slice(_SAMPLES, _SAMPLES + _TESTED)))
    sequence = permuted_scenario(train, test, _TASKS, seed=0)
    rows = []
    for method, strength in _METHODS:
        model = SelectedOutputs(_network(n_outputs(sequence)))
        settings = MethodSettings(method, strength, n_modes=20, rank=40, window=150)
        result = train_sequentially(model, sequence, settings, _TRAINING)
        rows += _rows(f"{_TASKS} tasks, {method_label(method)}", result)
    return rows


def _network(outputs: int) -> nn.Module:
    return mlp([784, 100, 100, outputs], bias=True, seed=0)


def _rows(name: str, result: ContinualResult) -> list[Row]:
    """From the third task on, whose penalty is the first of several tasks, to the last that is kept."""
    spent = (result.seconds + result.consolidation_seconds)[2:-1]
    fit = ls.law.fit_power_law(torch.arange(3.0, 3.0 + len(spent)), spent)
    note = f"standard error {fit.stderr:.2f}; {float(spent.mean()):.2g} s a task"
    rows = [Row.of(f"{name}: seconds of task t ~ t^a", "a", fit.exponent, note)]
    early, late = int(result.n_stored[1]), int(result.n_stored[-2])
    if early:
        note = f"{late / result.dim:.3g} numbers a weight"
        rows.append(Row.of(f"{name}: stored after {_TASKS - 1} tasks / after 2", "x", late / early, note))
    return rows
