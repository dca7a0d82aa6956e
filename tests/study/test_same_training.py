"""A training that stands still or ignores the order of the minibatches is no control."""

import types

import pytest
import torch

import landscope as ls
from landscope.errors import InputError
from landscope.study.same_training import check_goes_on


class Folder(dict):
    """Notes in memory."""

    def read_note(self, name):
        return self.get(name, {})

    def note(self, name, values):
        self[name] = values


def test_each_order_has_its_own_weights():
    analysis, path = types.SimpleNamespace(folder=Folder()), ls.Trajectory.of(torch.arange(6.0).view(3, 2))
    check_goes_on(analysis, "reshuffled", path)
    check_goes_on(analysis, "reshuffled", path)  # again after a stop
    with pytest.raises(InputError, match="the same weights at the end for with-replacement as for reshuffled"):
        check_goes_on(analysis, "with-replacement", path)
    check_goes_on(analysis, "fixed", ls.Trajectory.of(torch.arange(6.0).view(3, 2) ** 2))
    with pytest.raises(InputError, match="weights that end where they began"):
        check_goes_on(analysis, "fixed", ls.Trajectory.of(torch.ones(3, 2)))
