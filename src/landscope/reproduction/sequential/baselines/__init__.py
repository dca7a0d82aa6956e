"""Published methods that keep tasks, for comparison with TaskMemory."""
