"""Penalties stored in fewer numbers: merged over tasks, factored by layer."""
