"""The commands of ``landscope`` with their options and an example each, from the command line itself.

The directive ``commands`` takes the names of commands, and writes one section a command.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from landscope.cli import app as command_line


@functools.cache
def _all_commands() -> str:
    return command_line.generate_docs(output_format="rst")


def section(name: str) -> list[str]:
    """One command as text: what it does, an example, its usage and options."""
    _, _, text = _all_commands().partition(f".. _cyclopts-landscope-{name}:")
    usage, _, rest = text[text.index("::") + 2 :].strip().partition("\n\n")
    told, _, options = rest.partition(".. _cyclopts-landscope-")[0].partition("**Parameters:**")
    told, _, example = told.partition("Example:")
    told = re.sub(r"--[a-z][a-z-]*", r"``\g<0>``", told)
    return [
        name, "^" * len(name), "", told.strip(), "",
        ".. code-block:: console", "", f"   $ {' '.join(example.split())}", "",
        "Usage and options:", "", ".. code-block:: text", "", f"   {usage.strip()}", "", options, "",
    ]  # fmt: skip


class Commands(SphinxDirective):
    """One section for each of the named commands."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Write the sections as text, and let Sphinx read it."""
        names = " ".join(self.content).split()
        text = "\n".join(line for name in names for line in section(name))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
