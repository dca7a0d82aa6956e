"""Methods that make a penalty of a finished task, and what they measure of it."""
