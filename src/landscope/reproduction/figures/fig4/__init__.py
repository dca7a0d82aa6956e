"""Fig. 4: constraints along the modes of a first task protect it while a second task is learnt."""

from landscope.reproduction.figures.fig4.figure import Fig4

__all__ = ["Fig4"]
