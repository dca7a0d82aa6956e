"""Templates to pages."""

from __future__ import annotations

import re
from typing import Any

import jinja2
from plotly.offline import get_plotlyjs

from landscope.claims.multiplicity import false_verdicts
from landscope.claims.papers import by_paper
from landscope.law.intervals import with_interval

__all__ = ["render"]

_HEADING = re.compile(r'<h2 id="([^"]+)">(.*?)</h2>')


def render(template: str, **values: Any) -> str:
    """A page from a template, with plotly inlined.

    A template extends ``page.html.j2`` and fills its blocks ``head`` and ``content``. Every ``<h2 id="...">`` of the
    content becomes a line of the table of contents.

    Args:
        template: Name of the template.
        **values: What the template shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("landscope"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "headings": _HEADING.findall, "with_interval": with_interval, "false_verdicts": false_verdicts,
        "by_paper": by_paper,
    }  # fmt: skip
    return environment.get_template(template).render(plotly_js=get_plotlyjs(), **values)
