"""The self-contained page of one training run."""

from landscope.report.run_page import write_report

__all__ = ["write_report"]
