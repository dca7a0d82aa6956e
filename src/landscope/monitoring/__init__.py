"""Instruments of a training that goes on: :class:`Monitor`."""

from landscope.monitoring.history import MonitorHistory
from landscope.monitoring.monitor import Monitor

__all__ = ["Monitor", "MonitorHistory"]
