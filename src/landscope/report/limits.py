"""The two exponents of a window without end: their names, and what each is."""

from __future__ import annotations

__all__ = ["PROCESS_LIMIT", "PROCESS_LIMIT_IS", "RUN_LIMIT", "RUN_LIMIT_IS"]

PROCESS_LIMIT = "ψ∞ of the process"
PROCESS_LIMIT_IS = (
    f"{PROCESS_LIMIT} is computed: it is the exponent that a stationary process with the noise of this run and the "
    "curvature along the recorded weights would show in a window without end, with minibatches in the "
    "order of the run: independent, or in reshuffled epochs whose noise sums to zero where the run's does."
)
RUN_LIMIT = "ψ∞ of the run"
RUN_LIMIT_IS = (
    f"{RUN_LIMIT} is measured: it is the exponent that the run itself would show in a window without end, from the "
    "restoring force of all weights, and it is given only where growing windows of the run agree with it."
)
