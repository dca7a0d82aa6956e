"""TaskMemory: keep earlier tasks while a model learns the next one, in any training loop."""
