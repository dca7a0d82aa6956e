"""Tasks in turn where the field measures: scenarios, and rivals of :class:`landscope.TaskMemory`."""

from landscope.continual.learning import Schooling, learn_scenario, rival_name
from landscope.continual.path_integral import SynapticIntelligence
from landscope.continual.projection import GradientProjectionMemory, OrthogonalGradientDescent
from landscope.continual.protocol import Memory
from landscope.continual.replay import Replay
from landscope.continual.scenarios import Scenario, permuted_scenario, split_scenario

__all__ = [
    "GradientProjectionMemory",
    "Memory",
    "OrthogonalGradientDescent",
    "Replay",
    "Scenario",
    "Schooling",
    "SynapticIntelligence",
    "learn_scenario",
    "permuted_scenario",
    "rival_name",
    "split_scenario",
]
