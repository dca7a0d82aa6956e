"""Tasks in turn where the field measures: scenarios, and rivals of :class:`landscope.TaskMemory`."""

from landscope.continual.language import FineTuned, FineTuning, Tuning
from landscope.continual.learning import Schooling, learn_scenario, rival_name
from landscope.continual.low_rank import add_low_rank
from landscope.continual.path_integral import SynapticIntelligence
from landscope.continual.projection import GradientProjectionMemory, OrthogonalGradientDescent
from landscope.continual.protocol import Memory
from landscope.continual.replay import Replay
from landscope.continual.scenarios import Scenario, permuted_scenario, split_scenario

__all__ = [
    "FineTuned",
    "FineTuning",
    "GradientProjectionMemory",
    "Memory",
    "OrthogonalGradientDescent",
    "Replay",
    "Scenario",
    "Schooling",
    "SynapticIntelligence",
    "Tuning",
    "add_low_rank",
    "learn_scenario",
    "permuted_scenario",
    "rival_name",
    "split_scenario",
]
