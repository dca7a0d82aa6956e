"""TaskMemory and its methods: protect earlier tasks while a model learns the next one, in any training loop."""

from typing import TYPE_CHECKING, Any

from landscope.memory.budget import Budget, Rise
from landscope.memory.keep import keep
from landscope.memory.methods import EWC, KFAC, L2, LDC, MAS, METHODS, Basin, Method
from landscope.memory.replay import Replay
from landscope.memory.task_memory import TaskMemory
from landscope.memory.task_results import TaskMatrix, TaskResults
from landscope.memory.weight_line import Interpolation, interpolated, interpolation

if TYPE_CHECKING:
    from landscope.memory.page import write_report

__all__ = [
    "EWC", "KFAC", "L2", "LDC", "MAS", "METHODS", "Basin", "Budget", "Interpolation", "Method", "Replay", "Rise",
    "TaskMatrix", "TaskMemory", "TaskResults", "interpolated", "interpolation", "keep", "write_report",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "write_report":  # a page needs plotly, which a training does not
        from landscope.memory.page import write_report

        return write_report
    raise AttributeError(f"module 'landscope.memory' has no attribute {name!r}")
