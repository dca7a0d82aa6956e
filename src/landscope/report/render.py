"""Templates to pages."""

from __future__ import annotations

from typing import Any

import jinja2
from plotly.offline import get_plotlyjs

__all__ = ["render"]


def render(template: str, **values: Any) -> str:
    """A page from a template, with plotly inlined."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("landscope"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(template).render(plotly_js=get_plotlyjs(), **values)
