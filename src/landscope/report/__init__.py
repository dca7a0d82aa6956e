"""The self-contained pages: of a run, of a figure over seeds, of a reproduction from recipes, and of tasks in turn."""

from landscope.report.everything_page import write_everything_report
from landscope.report.forget_page import FORGET_HEADINGS, forget_rows, write_forget_report
from landscope.report.reproduction_page import write_reproduction_report
from landscope.report.run_page import write_report

__all__ = [
    "FORGET_HEADINGS",
    "forget_rows",
    "write_everything_report",
    "write_forget_report",
    "write_report",
    "write_reproduction_report",
]
