"""The self-contained pages: of a run, of a figure over seeds, and of a reproduction from recipes."""

from landscope.report.everything_page import write_everything_report
from landscope.report.reproduction_page import write_reproduction_report
from landscope.report.run_page import write_report

__all__ = ["write_everything_report", "write_report", "write_reproduction_report"]
