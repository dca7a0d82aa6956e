"""Words that settings and code share, kept apart so that the command line can read them without loading torch."""

from typing import Literal

__all__ = ["BatchNorm", "CurvatureMatrix", "End", "Sampling", "TrainedBatchNorm"]

Sampling = Literal["reshuffled", "shuffled-once", "fixed", "with-replacement"]
"""Orders of minibatches, as :mod:`landscope.sampling` makes them."""


BatchNorm = Literal["kept", "re-estimated"]
"""Statistics of batch normalisation, see :class:`landscope.EmpiricalRisk`."""


TrainedBatchNorm = Literal["kept", "updated"]
"""Running statistics while a new task is learnt, see :class:`landscope.TaskMemory`."""


CurvatureMatrix = Literal["hessian", "gauss-newton"]
"""Matrices of second derivatives, see :func:`landscope.landscape.spectral_density`."""


End = Literal["largest", "smallest"]
"""Ends of a spectrum, see :func:`landscope.directions.hessian`."""
