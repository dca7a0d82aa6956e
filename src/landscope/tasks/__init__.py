"""Tasks learnt one after another, and the methods that keep the earlier ones (paper, Fig. 4)."""

from landscope.tasks.combining import combined_penalty, held_directions
from landscope.tasks.course import Course
from landscope.tasks.finished import FinishedTask
from landscope.tasks.forgetting import Forgetting, Trial, measure_forgetting
from landscope.tasks.frozen import FreeLayers
from landscope.tasks.groups import Labelled, Task, class_tasks, joined_tasks
from landscope.tasks.learning import Learner, Watched
from landscope.tasks.memory import TaskMemory
from landscope.tasks.methods import METHODS, UNPROTECTED, Method, method_name, with_strength
from landscope.tasks.sequence import LearntTask, TasksInTurn, learn_in_turn
from landscope.tasks.timed import TimedPenalties

__all__ = [
    "METHODS",
    "UNPROTECTED",
    "Course",
    "FinishedTask",
    "Forgetting",
    "FreeLayers",
    "Labelled",
    "LearntTask",
    "Learner",
    "Method",
    "Task",
    "TaskMemory",
    "TasksInTurn",
    "TimedPenalties",
    "Trial",
    "Watched",
    "class_tasks",
    "combined_penalty",
    "held_directions",
    "joined_tasks",
    "learn_in_turn",
    "measure_forgetting",
    "method_name",
    "with_strength",
]
