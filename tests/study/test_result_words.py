"""A reason names no file of the folder: every result of every stage is known in words."""

import re

import small_study as small
from landscope.study.result_words import needed
from landscope.study.stages import STAGES
from landscope.study.stages.controls import CONTROLS


def test_every_result_of_every_stage_is_known_in_words(recorded):
    analysis = small.opened(recorded)._analysis
    names = [part.name for stage in STAGES for part in stage.parts(analysis)]
    assert len(names) > 60
    for name in names:
        said = needed(name, is_run=False)
        assert "a result that was not made" not in said, name
        assert re.match(r"needs [a-zA-Z_, -]+[a-z0]: (ls\.Study|study\.analyse)\(", said), said
        assert "-" not in name or name not in said


def test_without_the_process_the_rows_along_the_curvature_say_what_to_do(recorded):
    analysis = small.opened(recorded, n_processes=0)._analysis
    (row,) = [part for part in CONTROLS.parts(analysis) if part.name == "exponents-curvature"]
    reason = "needs the flatness along eigenvectors of the curvature: ls.Study(..., n_processes=3)"
    assert analysis.reason_against(row) == reason
