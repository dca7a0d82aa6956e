"""TaskMemory and its methods: protect earlier tasks while a model learns the next one, in any training loop."""

from landscope.memory.budget import Budget, Rise
from landscope.memory.keep import keep
from landscope.memory.methods import EWC, KFAC, L2, LDC, MAS, METHODS, Basin, Method
from landscope.memory.task_memory import TaskMemory

__all__ = ["EWC", "KFAC", "L2", "LDC", "MAS", "METHODS", "Basin", "Budget", "Method", "Rise", "TaskMemory", "keep"]
