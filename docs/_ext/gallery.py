"""Pages of the gallery: each figure with the code that draws it, a picture, and an interactive plot on demand.

``gallery-code`` shows and runs code that others need; ``gallery-figure NAME`` shows and runs code whose last line is a
figure, after its caption in ``landscope.report``, if it has one.
"""

from __future__ import annotations

import html
import shutil
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from gallery_files import NARROW, WIDTH, Shown, page_files
from gallery_pages import blocks_of
from plotly.offline import get_plotlyjs
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from landscope.report import CAPTIONS

_LOG = logging.getLogger(__name__)
_SCRIPTS = "_static/gallery"


class GalleryCode(SphinxDirective):
    """Code that runs before the figures of its page."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Show the code."""
        return [self._code()]

    def _code(self) -> nodes.literal_block:
        code = "\n".join(self.content)
        return nodes.literal_block(code, code, language="python")


class GalleryFigure(GalleryCode):
    """A figure, its caption and its code."""

    required_arguments = 1
    option_spec: ClassVar = {}

    def run(self) -> list[nodes.Node]:
        """Show caption, code, picture, and the button of the interactive plot."""
        name = self.arguments[0]
        shown = _figures(self.env, self.env.docname).get(name)
        if shown is None:
            raise self.error(f"the page draws no figure {name}")
        caption = [nodes.paragraph("", CAPTIONS[name][1])] if name in CAPTIONS else []
        folder = "../" * self.env.docname.count("/") + _SCRIPTS
        return [*caption, self._code(), nodes.raw("", figure_html(name, shown, folder), format="html")]


def figure_html(name: str, shown: Shown, folder: str) -> str:
    """A figure as HTML; its files are in a folder, seen from the page."""
    alt = html.escape(shown.alt, quote=True)
    plot = _picture(f"{folder}/{name}", shown, alt) if shown.picture else f'<p class="gallery-nothing">{alt}</p>'
    return (
        f'<figure class="gallery-figure" id="figure-{name}"><div class="gallery-plot">{plot}</div>'
        f'<button type="button" class="gallery-button" data-figure="{name}" data-folder="{folder}" '
        f'data-height="{shown.height}" aria-pressed="false" aria-label="Interactive: {name.replace("_", " ")}">'
        "Interactive</button></figure>"
    )


def _picture(stem: str, shown: Shown, alt: str) -> str:
    """A picture, and another one for a telephone; both reserve their room before they are loaded."""
    narrow = (
        f'<source media="(max-width: 30em)" srcset="{stem}-narrow.webp" width="{NARROW}" height="{shown.height}">'
        if shown.narrow
        else ""
    )
    wide = f'<img src="{stem}.webp" alt="{alt}" width="{WIDTH}" height="{shown.height}" loading="lazy">'
    return f"<picture>{narrow}{wide}</picture>"


def _figures(env: Any, docname: str) -> dict[str, Shown]:
    """What to say of the figures of a page; they are drawn when the first of them is read."""
    kept = env.temp_data.get("gallery")
    if kept is None:
        page = Path(env.doc2path(docname))
        kept, _ = page_files(page, _cache(env.app))
        env.temp_data["gallery"] = kept
        if not all(shown.picture for shown in kept.values()):
            _LOG.warning("no Chromium on the PATH: the page has interactive figures, but no pictures", location=docname)
    return kept


def _cache(app: Sphinx) -> Path:
    return Path(app.srcdir) / "_build" / "gallery"


def _outdated(_: Sphinx, env: Any, *__: Any) -> list[str]:
    """Pages with figures are read in every build, because their code depends on the whole package."""
    return _pages(env)


def _pages(env: Any) -> list[str]:
    return [name for name in env.found_docs if blocks_of(Path(env.doc2path(name)).read_text(encoding="utf-8"))]


def _copy(app: Sphinx, error: Exception | None) -> None:
    """Copy pictures, data and plotly.js to the site."""
    if error is not None or app.builder.format != "html":
        return
    target = Path(app.outdir) / _SCRIPTS
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    (target / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
    for name in _pages(app.env):
        for file in (_cache(app) / "pages" / Path(name).name).glob("*.*"):
            if file.suffix in (".js", ".webp"):
                shutil.copyfile(file, target / file.name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register directives, script and style."""
    app.add_directive("gallery-code", GalleryCode)
    app.add_directive("gallery-figure", GalleryFigure)
    app.add_js_file("gallery.js", loading_method="defer")
    app.add_css_file("gallery.css")
    app.connect("env-get-outdated", _outdated)
    app.connect("build-finished", _copy)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
