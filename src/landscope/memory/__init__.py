"""TaskMemory and its methods: protect earlier tasks while a model learns the next one, in any training loop."""

from landscope.memory.budget import Budget
from landscope.memory.keep import keep
from landscope.memory.methods import EWC, KFAC, L2, LDC, MAS, METHODS, Basin, Method
from landscope.memory.replay import Gaussians, Generated, Replay, Samples
from landscope.memory.rise import Rise
from landscope.memory.task_matrix import TaskMatrix
from landscope.memory.task_memory import TaskMemory
from landscope.memory.task_report import TaskReport
from landscope.memory.weight_line import Interpolation, interpolated, interpolation

__all__ = [
    "EWC", "KFAC", "L2", "LDC", "MAS", "METHODS", "Basin", "Budget", "Gaussians", "Generated", "Interpolation",
    "Method", "Replay", "Rise", "Samples", "TaskMatrix", "TaskMemory", "TaskReport", "interpolated",
    "interpolation", "keep",
]  # fmt: skip
