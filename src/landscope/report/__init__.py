"""Pages of results: templates, captions, and plotly inlined, so that a page works offline."""

from landscope.report.captions import CAPTIONS, WIDE
from landscope.report.render import render

__all__ = ["CAPTIONS", "WIDE", "render"]
