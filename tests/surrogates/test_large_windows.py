"""Surrogates of windows that do not fit into memory a second time are made when they are read."""

import pytest
import torch

import landscope as ls
from landscope.surrogates import building
from landscope.surrogates.shuffled import shuffled_increments
from landscope.surrogates.sign_flips import sign_flipped_epochs

WINDOW = ls.Trajectory.of(torch.randn(30, 400, generator=torch.Generator().manual_seed(0)).cumsum(dim=0))
MADE = {
    "shuffled": lambda: shuffled_increments(WINDOW, seed=1),
    "flipped": lambda: sign_flipped_epochs(WINDOW, seed=1, steps_per_epoch=5),
}


@pytest.mark.parametrize("name", MADE)
def test_rows_are_those_of_the_copy(name, monkeypatch):
    copy = MADE[name]()
    monkeypatch.setattr(building, "free_memory", lambda: 4 * copy.weights.numel() * 4 - 1)
    monkeypatch.setattr(ls.Trajectory, "panels", narrow(ls.Trajectory.panels))
    made = MADE[name]()
    assert isinstance(made._rows, building._ChangedSteps)
    assert not isinstance(copy._rows, building._ChangedSteps)
    assert torch.equal(made.weights, copy.weights)
    assert torch.equal(made.rows(3, 7, slice(11, 50)), copy.weights[3:7, 11:50])
    assert torch.equal(made.window(stop=9).weights, copy.weights[:8])
    assert made.provenance["settings"] == copy.provenance["settings"]


def narrow(panels):
    """Panels of 37 columns."""
    return lambda self, max_bytes=0, *, columns=slice(None): panels(self, 37 * 8 * len(self), columns=columns)


@pytest.mark.parametrize("name", MADE)
def test_what_is_measured_reads_each_row_few_times(name, monkeypatch):
    copy = MADE[name]()
    monkeypatch.setattr(building, "free_memory", lambda: 0)
    made, read = MADE[name](), []
    rows = building._ChangedSteps.read

    def counted(self, start, stop, columns=slice(None)):
        first, last, _ = columns.indices(self.shape[1])
        read.append((last - first) * len(WINDOW))
        return rows(self, start, stop, columns)

    monkeypatch.setattr(building._ChangedSteps, "read", counted)
    modes = ls.principal_modes(made, 5)
    statistics = ls.noise.mode_statistics(modes, made)
    # Modes: the mean, the products, the directions, two rows. Statistics: finite, projected, a row, the variance.
    assert sum(read) == 9 * WINDOW.weights.numel()
    wanted = ls.principal_modes(copy, 5)
    torch.testing.assert_close(modes.variance, wanted.variance, rtol=1e-12, atol=0)
    torch.testing.assert_close(statistics.variance, wanted.variance, rtol=1e-9, atol=0)
