"""The sinks of a training: one that fails is left out, and the training goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

from landscope.errors import LandscopeWarning
from landscope.monitoring.sinks import Sink
from landscope.notices import warn
from landscope.wording import error_text

__all__ = ["OpenSinks"]


class OpenSinks(contextlib.AbstractContextManager["OpenSinks"]):
    """Sinks that are open within the context.

    Args:
        openers: Name of each sink, and a function that opens it; an error of that function ends the entry.
    """

    def __init__(self, openers: Sequence[tuple[str, Callable[[], Sink]]]) -> None:
        self._openers, self._open = openers, list[tuple[str, Sink]]()

    def __enter__(self) -> OpenSinks:
        try:
            for name, opened in self._openers:
                self._open.append((name, opened()))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        opened, self._open = self._open, []
        for name, sink in opened:
            try:
                sink.close()
            except Exception as error:  # noqa: BLE001 - of any package
                warn(f"The sink {name} did not close: {error_text(error)}", LandscopeWarning)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Hand values to all sinks; one that fails is said once, and gets no more."""
        failed = []
        for name, sink in self._open:
            try:
                sink.write(step, values)
            except Exception as error:  # noqa: BLE001 - of any package
                failed.append((name, sink))
                warn(
                    f"The sink {name} failed at step {step}, and gets no more numbers: {error_text(error)} The "
                    "training and the other sinks go on; monitor.history has all numbers.",
                    LandscopeWarning,
                )
        if failed:
            self._open = [pair for pair in self._open if pair not in failed]
            for _, sink in failed:
                with contextlib.suppress(Exception):
                    sink.close()
