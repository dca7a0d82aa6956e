"""The loss along directions: profiles (Eq. 6), flatness (Eq. 7), curvature."""

from landscope.landscape.curvature import directional_curvature
from landscope.landscape.flatness import Flatness, flatness, joined
from landscope.landscape.profile import LossProfiles, ProfileFits, fit_profiles, loss_profiles

__all__ = [
    "Flatness",
    "LossProfiles",
    "ProfileFits",
    "directional_curvature",
    "fit_profiles",
    "flatness",
    "joined",
    "loss_profiles",
]
