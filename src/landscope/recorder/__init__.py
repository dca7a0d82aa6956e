"""Recording the weights of any training loop after each step of its optimiser."""

from landscope.recorder.recorder import TrajectoryRecorder

__all__ = ["TrajectoryRecorder"]
