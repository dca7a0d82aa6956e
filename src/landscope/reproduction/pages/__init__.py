"""Pages of reproductions."""
