"""A training that stands still or ignores the order of the minibatches is no control."""

import pytest
import torch

import landscope as ls
from landscope.errors import InputError
from landscope.storage.folder import ResultFolder
from landscope.study.folder import StudyFolder
from landscope.study.same_training import check_goes_on


def test_each_order_has_its_own_weights(tmp_path):
    folder, path = ResultFolder(tmp_path), ls.Trajectory.of(torch.arange(6.0).view(3, 2))
    check_goes_on(folder, "reshuffled", path)
    check_goes_on(folder, "reshuffled", path)  # again after a stop
    with pytest.raises(InputError, match="the same weights at the end for with-replacement as for reshuffled"):
        check_goes_on(folder, "with-replacement", path)
    check_goes_on(folder, "fixed", ls.Trajectory.of(torch.arange(6.0).view(3, 2) ** 2))
    with pytest.raises(InputError, match="weights that end where they began"):
        check_goes_on(folder, "fixed", ls.Trajectory.of(torch.ones(3, 2)))


def test_discarded_results_take_their_ends_with_them(tmp_path):
    folder, path = StudyFolder.create(tmp_path / "study", {}), ls.Trajectory.of(torch.arange(6.0).view(3, 2))
    check_goes_on(folder, "reshuffled", path)
    folder.drop_results()
    check_goes_on(folder, "with-replacement", path)
