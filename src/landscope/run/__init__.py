"""A run on disk: settings, stages, resume, progress."""

from landscope.run.folder import RunFolder
from landscope.run.pipeline import STAGES, run_stages
from landscope.run.reproduce import reproduce

__all__ = ["STAGES", "RunFolder", "reproduce", "run_stages"]
