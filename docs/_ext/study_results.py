"""A table of the results that a study may hold: the file, what it holds, and what makes it.

``.. study-results::`` reads the names from ``landscope.study.saved``, so that a new result has its line.
"""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import Any

from docutils import nodes
from gallery_pages import places_of
from public_names import first_paragraph
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from landscope.study import result_words
from landscope.study.figures import FIGURES
from landscope.study.saved import every_result


def words_of(name: str, kind: type) -> str:
    """What a result holds: its own words, or the sentence of its class."""
    own = (f"{words}." for begin, words, _ in result_words._WORDS if begin == name.removesuffix("*"))
    return next(own, first_paragraph(inspect.getdoc(kind)))


def made_by(name: str) -> str:
    """The call that makes a result, or the setting that it needs."""
    words, stem = result_words._WORDS, name.partition("*")[0]
    many = {how for begin, _, how in words if begin.startswith(stem)} if stem != name else set()
    how = "controls" if "controls" in many else next(how for begin, _, how in words if name.startswith(begin))
    return f"study.analyse({how}=True)" if how in result_words.FURTHER else how.replace("law", "study.analyse()")


class StudyResults(SphinxDirective):
    """A table of all results of a study."""

    def run(self) -> list[nodes.Node]:
        """Write the table as text, and let Sphinx read it."""
        text = [".. list-table::", "   :header-rows: 1", "   :class: names", "   :widths: 38 40 22", ""]
        text += ["   * - file", "     - holds", "     - needs"]
        for name, kind in every_result().items():
            role = f":py:class:`~{kind.__module__}.{kind.__name__}`"
            text += [f"   * - ``{name}.zarr.zip``", f"     - {role}: {words_of(name, kind)}"]
            text += [f"     - ``{made_by(name)}``"]
        return self.parse_text_to_nodes("\n".join(text))


@functools.cache
def _places() -> dict[str, tuple[str, str]]:
    return places_of(sorted((Path(__file__).parents[1] / "gallery").glob("*.md")))


def _how_to_draw(*event: Any) -> None:
    """Add to a figure the call that draws it from the results of a study, and its place in the gallery."""
    module, _, last = event[2].rpartition(".")
    if module == "landscope.plots" and last in FIGURES:
        files = ", ".join(f"``{result.name}.zarr.zip``" for result in FIGURES[last].results)
        event[-1].extend(["", f"Of a study: ``study.plots.{last}()``, from {files}.", ""])
    if module == "landscope.plots" and last in _places():
        page, heading = _places()[last]
        event[-1].extend(["", f"Gallery: `{heading} <../gallery/{page}.html#{nodes.make_id(heading)}>`__.", ""])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("study-results", StudyResults)
    app.connect("autodoc-process-docstring", _how_to_draw)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
