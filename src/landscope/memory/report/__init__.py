"""What is measured of a user's tasks: losses, the matrix, the line of weights, and the page."""
