"""The strength of the penalty: from a budget, or from how far the outputs move."""
