"""Surrogate trajectories: nulls and controls that go through the same analysis as the run itself."""
