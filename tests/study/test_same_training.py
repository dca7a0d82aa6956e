"""A training that stands still or ignores the order of the minibatches is no control."""

import pytest
import torch

import landscope as ls
from landscope.errors import InputError
from landscope.power_law import PowerLaw, fit_power_law
from landscope.storage.folder import ResultFolder
from landscope.study.analysis import Analysis
from landscope.study.folder import StudyFolder
from landscope.study.parts import Part, Stage
from landscope.study.pipeline import run_stages
from landscope.study.same_training import CONTINUED, check_goes_on, lost_note
from landscope.study.saved import Saved
from landscope.study.steps_caveat import CONTINUED_STEPS
from small_run import Listening


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


def test_a_lost_note_of_a_training_that_went_on_is_named(recorded):
    folder = StudyFolder.open(recorded)
    analysis = Analysis(folder, None)
    assert lost_note("reshuffled", analysis) == "continued-ends"
    folder.note("continued-ends", {"reshuffled": "a", "with-replacement": "b"})
    assert lost_note("reshuffled", analysis) == CONTINUED_STEPS
    folder.note(CONTINUED_STEPS, {"reshuffled": {}, "with-replacement": {}})
    assert lost_note("reshuffled", analysis) == lost_note("with-replacement", analysis) == ""
    folder.file("effective-curvature-with-replacement-modes").touch()  # the whole model was recorded
    assert lost_note("with-replacement", analysis) == CONTINUED
    folder.note(CONTINUED, {"optimizer": "SGD"})
    assert lost_note("with-replacement", analysis) == ""


def test_a_result_is_made_again_with_the_note_beside_it(recorded):
    folder, reporter = StudyFolder.open(recorded), Listening()

    def made(analysis):
        analysis.folder.note(CONTINUED, {"optimizer": "SGD"})
        return fit_power_law(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 4.0, 16.0]))

    part = Part(
        Saved("mine", PowerLaw), made, lost_note=lambda one: "" if one.folder.read_note(CONTINUED) else CONTINUED
    )
    stage = Stage("mine", "Mine", lambda _: (part,))
    for _ in range(2):
        run_stages(Analysis(folder, None), [stage], reporter)
    assert reporter.made_again() == []
    (recorded / f"{CONTINUED}.json").unlink()
    run_stages(Analysis(folder, None), [stage], reporter)
    assert folder.read_note(CONTINUED) == {"optimizer": "SGD"}
    assert reporter.made_again() == ["mine"]
    assert any("continued.json, which is made with it, is lost" in line for line in reporter.said)
