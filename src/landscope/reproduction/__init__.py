"""The paper's experiments, built on the library."""
