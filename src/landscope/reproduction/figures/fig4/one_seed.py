"""Verdicts on the claims of Fig. 4 from a folder of ``landscope continual``: one seed."""

from __future__ import annotations

from collections.abc import Sequence

from landscope.claims.statements import judged
from landscope.claims.verdict import Judgement
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures.fig4.claims import CLAIMS, single_seed_measurements
from landscope.reproduction.sequential.command import TASKS_NOTE
from landscope.reproduction.sequential.continual_result import ContinualResult

__all__ = ["judgements_of"]

_PAPER = {"tasks": [[0, 1], [2, 3]], "pretraining": "tasks", "max_epochs": 50, "window_epochs": 10}
_EPOCH = 241
"""Minibatches in an epoch of the digits 2 and 3 of MNIST."""


def judgements_of(run: ExperimentFolder, results: Sequence[ContinualResult]) -> list[Judgement]:
    """Verdicts of one seed on the paper's claims, in the paper's setting; none otherwise."""
    if run.settings != Settings(data="mnist", seed=run.settings.seed) or run.read_note(TASKS_NOTE) != _PAPER:
        return []
    return judged(single_seed_measurements(results, step=_EPOCH), CLAIMS)
