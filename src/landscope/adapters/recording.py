"""What the callbacks of all frameworks share: a recorder that exists once a training has begun."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from landscope._checks import check_count
from landscope.errors import InputError
from landscope.parameters import ParameterSpace, Selection
from landscope.recorder import TrajectoryRecorder
from landscope.trajectory import Trajectory

__all__ = ["Recording"]


class Recording:
    """Keeps what is to be recorded, and hands out what was.

    Args:
        select: Which parameters, see :meth:`landscope.ParameterSpace.of`.
        path: Folder for the trajectory; in memory by default.
        every: Record every so many steps.

    Raises:
        InputError: If ``every`` is no positive number.
    """

    _begin = "train()"
    """The call of the framework that begins a training."""

    def __init__(
        self,
        select: Selection | Iterable[Selection] | None = None,
        *,
        path: str | Path | None = None,
        every: int = 1,
    ) -> None:
        self._select = select if select is None or isinstance(select, str | type) else tuple(select)
        self._path = path
        self._every = check_count("every", every, minimum=1)
        self._recorder: TrajectoryRecorder | None = None

    @property
    def space(self) -> ParameterSpace:
        """Which parameters are recorded."""
        return self._begun().space

    def trajectory(self) -> Trajectory:
        """What was recorded so far.

        Returns:
            The trajectory, in memory or reading from ``path``.

        Raises:
            InputError: If no training began, or no step was recorded.
        """
        return self._begun().trajectory()

    def _begun(self) -> TrajectoryRecorder:
        if self._recorder is None:
            raise InputError(
                expected="a training that has begun on this process",
                got="none",
                hint=f"Pass this callback to Trainer(callbacks=[...]) and call {self._begin}; only the main process "
                "records.",
            )
        return self._recorder
