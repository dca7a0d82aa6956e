"""Where the numbers of a monitor go to: each sink is one file."""

from landscope.monitoring.sinks.choice import several, sinks_of
from landscope.monitoring.sinks.sink import Sink

__all__ = ["Sink", "several", "sinks_of"]
