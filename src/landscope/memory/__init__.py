"""TaskMemory and its methods: protect earlier tasks while a model learns the next one, in any training loop."""

from landscope.memory.keep import keep
from landscope.memory.methods.baselines import L2, MAS
from landscope.memory.methods.basin import Basin
from landscope.memory.methods.fisher import EWC, KFAC
from landscope.memory.methods.ldc import LDC
from landscope.memory.methods.method import Method
from landscope.memory.methods.registry import METHODS
from landscope.memory.replay.sources import Gaussians, Generated, Replay, Samples
from landscope.memory.report.rise import Rise
from landscope.memory.report.task_matrix import TaskMatrix
from landscope.memory.report.task_report import TaskReport
from landscope.memory.report.weight_line import Interpolation, interpolated, interpolation
from landscope.memory.strength.budget import Budget
from landscope.memory.task_memory import TaskMemory

__all__ = [
    "EWC", "KFAC", "L2", "LDC", "MAS", "METHODS", "Basin", "Budget", "Gaussians", "Generated", "Interpolation",
    "Method", "Replay", "Rise", "Samples", "TaskMatrix", "TaskMemory", "TaskReport", "interpolated",
    "interpolation", "keep",
]  # fmt: skip
