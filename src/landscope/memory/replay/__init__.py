"""Samples of earlier tasks that are learnt again beside the penalty."""
