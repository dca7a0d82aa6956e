"""Penalties that keep weights near where an earlier task left them (paper, Eq. 14)."""

from landscope.penalties.quadratic import QuadraticPenalty

__all__ = ["QuadraticPenalty"]
