"""Trainings of built-in networks: settings, networks, data sets, and the run with its study."""
