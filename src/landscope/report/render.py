"""Templates to pages."""

from __future__ import annotations

import re
from typing import Any

import jinja2
from plotly.offline import get_plotlyjs

from landscope.claims.multiplicity import false_verdicts
from landscope.law.intervals import with_interval
from landscope.report.claim_groups import claim_groups, verdict_counts
from landscope.wording import without_nan

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
        finalize=lambda value: without_nan(value) if type(value) is str else value,  # not HTML that is ready
    )
    environment.filters |= {
        "headings": _HEADING.findall, "with_interval": with_interval, "false_verdicts": false_verdicts,
        "claim_groups": claim_groups, "verdict_counts": verdict_counts,
    }  # fmt: skip
    return environment.get_template(template).render(plotly_js=get_plotlyjs(), **values)
