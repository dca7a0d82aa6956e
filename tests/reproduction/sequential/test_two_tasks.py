"""Many trials from one first task."""

import pytest
import torch

import landscope as ls
from clusters import learn_first, prepared
from landscope.errors import InputError, StorageError
from landscope.reproduction.sequential.two_tasks import TwoTaskTrials, run_trials
from two_task_trials import PAPER, TRIALS, trials_of_seed


def test_all_trials_start_from_one_first_task_and_are_found_again(tmp_path):
    trials = trials_of_seed(0)
    assert trials.error.shape == (len(TRIALS), 4, 2)
    assert bool((trials.error[:, 0] == trials.error[0, 0]).all())
    assert trials.tasks == ("0,1", "2,3")
    assert trials.learnt
    row = trials.trials_of("ldc-no-floor", 4)[1]
    assert torch.equal(trials.errors("ldc-no-floor", 10.0, 4, 20), trials.error[row, 2])
    held = int((~torch.isnan(trials.flatness)).sum())  # modes without a flatness within reach are left out
    assert int(trials.n_stored[row]) == (held + 1) * trials.dim + held
    assert float(trials.build_seconds[row]) > 0
    assert trials.strengths("ldc-no-floor", 4) == [1.0, 10.0]
    assert trials.strengths("none", 0) == []
    loaded = ls.load(ls.save(trials, tmp_path / "trials.zarr.zip"))
    assert torch.equal(loaded.error, trials.error)
    assert tuple(loaded.method) == trials.method
    with pytest.raises(InputError, match="a trial that was made"):
        trials.errors("ldc-no-floor", 7.0, 4, 20)
    with pytest.raises(StorageError):
        ls.load(tmp_path / "missing.zarr.zip", TwoTaskTrials)


def test_displacements_are_distances_along_the_modes():
    setup = prepared()
    task, _ = learn_first(setup)
    trials = trials_of_seed(0)
    assert trials.moved == (0, TRIALS.index(PAPER))
    assert trials.displacement.shape[:2] == (2, 4)
    assert bool((trials.displacement[:, 0] == 0).all()), "no step yet"
    only = run_trials(prepared(), TRIALS[:1], [5, 20, 60], moved=[0])
    first = only.displacement[0, :, 0]
    assert torch.allclose(trials.displacement[0, :, 0], first, atol=1e-6)
    assert torch.allclose(trials.variance, task.modes.variance[:4].double(), rtol=1e-6)
    assert (trials.displacement[1, -1] < trials.displacement[0, -1]).sum() >= 3, "constraints hold the modes"
