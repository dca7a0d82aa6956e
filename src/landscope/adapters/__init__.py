"""Recorders for the training loops of other frameworks, one module each; import the one that is installed."""
