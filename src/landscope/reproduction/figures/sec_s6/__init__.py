"""Figs. 2D, S3, S10 and section S6: the inverse relation over networks, optimisers, losses and data."""

from landscope.reproduction.figures.sec_s6.figure import SecS6

__all__ = ["SecS6"]
