"""Trials of two tasks on clusters, run once a seed for all tests."""

import functools

from clusters import prepared
from landscope.reproduction.sequential.methods import PSI_METHODS, MethodSettings
from landscope.reproduction.sequential.two_tasks import run_trials

TRIALS = [MethodSettings("none"), MethodSettings("joint")] + [
    MethodSettings(method, strength, count)
    for method, counts in (("ldc-no-floor", (2, 4)), ("ldc-floor", (4,)), ("random", (4,)), ("l2", (0,)),
                           ("ewc", (0, 10)), ("ewc-empirical", (0,)), ("kfac", (0,)))
    for count in counts
    for strength in (1.0, 10.0)
] + [MethodSettings("ldc-floor", 4.0, 4)] + [MethodSettings(key, 10.0, 4) for key in PSI_METHODS.values()]  # fmt: skip
PAPER = MethodSettings("ldc-no-floor", 10.0, 4)


@functools.cache
def trials_of_seed(seed):
    return run_trials(prepared(seed=seed), TRIALS, [5, 20, 60], moved=[0, TRIALS.index(PAPER)])
