"""The self-contained pages: one of a run, one of a reproduction."""

from landscope.report.reproduction_page import write_reproduction_report
from landscope.report.run_page import write_report

__all__ = ["write_report", "write_reproduction_report"]
