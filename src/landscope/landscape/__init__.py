"""The loss along directions: profiles (Eq. 6), flatness (Eq. 7), curvature, effective dimensions."""

from landscope.landscape.align import align_units
from landscope.landscape.barrier import LossInterpolation, loss_between
from landscope.landscape.basin import Basin, basin, layer_scale
from landscope.landscape.curvature import directional_curvature
from landscope.landscape.diagonal import Diagonal, diagonal
from landscope.landscape.dimension import (
    flatness_until_flat,
    learning_dimension,
    learning_dimension_over_time,
    sharp_dimension,
    sharp_dimension_is_bound,
)
from landscope.landscape.flatness import Flatness, flatness
from landscope.landscape.invariant import InvariantFlatness, invariant_flatness
from landscope.landscape.learning_coefficient import LearningCoefficient, learning_coefficient
from landscope.landscape.loss_forms import LossForms, loss_forms
from landscope.landscape.plane import LossPlane, loss_plane
from landscope.landscape.preconditioned import Preconditioned, PreconditionedMinibatches, adam_preconditioner
from landscope.landscape.profile import LossProfiles, ProfileFits, fit_profiles, loss_profiles
from landscope.landscape.sharpness import BatchSharpness, batch_sharpness
from landscope.landscape.spectral_density import SpectralDensity, spectral_density
from landscope.landscape.trace import Trace, trace

__all__ = [
    "Basin",
    "BatchSharpness",
    "Diagonal",
    "Flatness",
    "LossForms",
    "InvariantFlatness",
    "LearningCoefficient",
    "LossInterpolation",
    "LossPlane",
    "LossProfiles",
    "Preconditioned",
    "PreconditionedMinibatches",
    "ProfileFits",
    "SpectralDensity",
    "Trace",
    "adam_preconditioner",
    "align_units",
    "basin",
    "batch_sharpness",
    "diagonal",
    "directional_curvature",
    "fit_profiles",
    "flatness",
    "flatness_until_flat",
    "invariant_flatness",
    "layer_scale",
    "learning_coefficient",
    "learning_dimension",
    "learning_dimension_over_time",
    "loss_between",
    "loss_forms",
    "loss_plane",
    "loss_profiles",
    "sharp_dimension",
    "sharp_dimension_is_bound",
    "spectral_density",
    "trace",
]
