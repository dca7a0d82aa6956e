"""The paper's sentences as data, and the rule that judges a measurement."""
