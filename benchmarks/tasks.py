"""Twenty tasks in a row: what a task costs, and what is kept, early and late."""

from __future__ import annotations

import math

import torch
from torch import nn

import landscope as ls
from benchmarks.measure import Row
from benchmarks.subject import Subject
from landscope.reproduction.experiment.networks import mlp
from landscope.reproduction.sequential.scenario_training import Schooling, learn_scenario, rival_name
from landscope.reproduction.sequential.scenarios import permuted_scenario
from landscope.reproduction.sequential.sequence import TasksInTurn

__all__ = ["tasks"]

_TASKS, _SAMPLES, _TESTED = 20, 10_000, 500
_METHODS = (("none", math.nan), ("ldc-floor", 0.4), ("ldc-variance-factored", 4.0), ("ewc", 1e3), ("kfac", 1e3))
_SCHOOLING = Schooling(epochs=1, window=150, n_modes=20, rank=40, max_samples=1000)


def tasks(subject: Subject, device: str) -> list[Row]:  # noqa: ARG001 - groups share a form
    """Seconds a task by its number, and numbers stored, of the same network on inputs in twenty orders."""
    inputs, labels = subject.data
    train, test = ((inputs[part], labels[part]) for part in (slice(_SAMPLES), slice(_SAMPLES, _SAMPLES + _TESTED)))
    scenario = permuted_scenario(train, test, _TASKS, seed=0)
    rows = []
    for method, strength in _METHODS:
        found = learn_scenario(scenario, _network, method, strength=strength, schooling=_SCHOOLING, seed=0)
        rows += _rows(f"{_TASKS} tasks, {rival_name(method)}", found)
    return rows


def _network(n_outputs: int) -> nn.Module:
    return mlp([784, 100, 100, n_outputs], bias=True, seed=0)


def _rows(name: str, found: TasksInTurn) -> list[Row]:
    """From the third task on, whose penalty is the first of several tasks, to the last that is kept."""
    spent = (found.seconds + found.keeping_seconds)[2:-1]
    fit = ls.law.fit_power_law(torch.arange(3.0, 3.0 + len(spent)), spent)
    note = f"standard error {fit.stderr:.2f}; {float(spent.mean()):.2g} s a task"
    rows = [Row.of(f"{name}: seconds of task t ~ t^a", "a", fit.exponent, note)]
    early, late = int(found.n_stored[1]), int(found.n_stored[-2])
    if early:
        note = f"{late / found.dim:.3g} numbers a weight"
        rows.append(Row.of(f"{name}: stored after {_TASKS - 1} tasks / after 2", "x", late / early, note))
    return rows
