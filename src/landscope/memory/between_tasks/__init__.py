"""What becomes of the model from task to task: other parameters, loaded weights, training without the memory."""
