"""Pages of results: templates, captions, and plotly inlined, so that a page works offline."""

from landscope.report.captions import CAPTIONS, WIDE
from landscope.report.render import render
from landscope.report.sections import SECTIONS, FigureSection

__all__ = ["CAPTIONS", "SECTIONS", "WIDE", "FigureSection", "render"]
