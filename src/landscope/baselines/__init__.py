"""Other ways to keep earlier tasks, behind the protocol of :class:`landscope.TaskMemory`: to be compared with."""

from landscope.baselines.path_integral import SynapticIntelligence
from landscope.baselines.projection import GradientProjectionMemory, OrthogonalGradientDescent
from landscope.baselines.protocol import Memory
from landscope.baselines.replay import Replay

__all__ = ["GradientProjectionMemory", "Memory", "OrthogonalGradientDescent", "Replay", "SynapticIntelligence"]
