"""The loss of a network on its data, as a landscape over the selected weights (paper, Eqs. 1 and 3)."""

from landscope.risk.empirical import EmpiricalRisk
from landscope.risk.fisher import FisherInformation, FisherKind
from landscope.risk.kronecker import check_layers
from landscope.risk.minibatches import MinibatchRisk

__all__ = ["EmpiricalRisk", "FisherInformation", "FisherKind", "MinibatchRisk", "check_layers"]
