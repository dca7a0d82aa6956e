"""A folder for one training run: recording, results, resumable stages, page."""
