"""The paper's sentences as data, and the rule that judges a measurement.

A function that measures returns its measurements by the key of the claim that each of them decides.
"""
