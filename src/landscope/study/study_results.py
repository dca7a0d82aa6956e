"""What a study reads from its folder: the recording, the results, the claims and the figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from landscope.claims.verdict import Measurement
from landscope.directions.directions import Directions
from landscope.landscape import Flatness
from landscope.study import saved
from landscope.study.claim_table import ClaimTable
from landscope.study.claims import judgements_of, measurements_of
from landscope.study.exponents import ExponentTable, exponent_table
from landscope.study.figures import StudyPlots
from landscope.study.folder import StudyFolder
from landscope.study.summary import summary_of
from landscope.trajectory import Trajectory

if TYPE_CHECKING:
    from landscope.study.analysis import Analysis

__all__ = ["StudyResults"]


class StudyResults:
    """The recording and the results of a study; nothing here computes a result."""

    folder: StudyFolder

    @property
    def _analysis(self) -> Analysis:
        """The analysis of what the folder holds now."""
        raise NotImplementedError

    @property
    def trajectory(self) -> Trajectory:
        """All recorded rows."""
        return self._analysis.recorded

    @property
    def window(self) -> Trajectory:
        """Rows in which the modes are found; the last one is w0."""
        return self._analysis.window

    @property
    def fresh(self) -> Trajectory | None:
        """Rows of the fresh data; None where only one window is analysed."""
        return self._analysis.windows.fresh

    @property
    def saved_steps(self) -> list[int]:
        """Steps with a saved whole model."""
        return self._analysis.checkpoints.steps()

    @property
    def modes(self) -> Directions:
        """Principal modes of the window."""
        return self._analysis.load(saved.MODES)

    @property
    def flatness(self) -> Flatness:
        """Flatness along the modes."""
        return self._analysis.load(saved.FLATNESS)

    @property
    def law(self) -> ExponentTable:
        """The exponents: in-sample, in fresh data, under each null and control that was run.

        Raises:
            InputError: If nothing was recorded.
            StorageError: If the recording was not analysed.
        """
        self._analysis.load(saved.IN_SAMPLE)
        return exponent_table(self._analysis)

    @property
    def claims(self) -> ClaimTable:
        """The paper's claims beside what was measured, with computed verdicts: a list of judgements, and a table."""
        return judgements_of(self._analysis)

    @property
    def measurements(self) -> dict[str, Measurement]:
        """What was measured on each claim, by its key."""
        return measurements_of(self._analysis)

    @property
    def not_measured(self) -> dict[str, str]:
        """Results that could not be measured, with the reason."""
        reasons = self.folder.read_note("not-measured")
        return {name: reason for name, reason in reasons.items() if not self.folder.has(name)}

    @property
    def plots(self) -> StudyPlots:
        """Every figure of the page as a call that gives a plotly figure."""
        return StudyPlots(self._analysis)

    def summary(self) -> dict[str, Any]:
        """The numbers of modes, flatness and law in one mapping."""
        return summary_of(self._analysis)
