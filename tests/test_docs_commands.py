"""Every ``landscope`` command line of the README and of the site parses."""

import re
import shlex
from pathlib import Path

import pytest
from cyclopts import CycloptsError

from landscope.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted(
        page for page in (ROOT / "docs").rglob("*.md") if not {"_build", "results"} & set(page.relative_to(ROOT).parts)
    ),
]


def command_lines(page):
    """The command lines of console blocks, and those with arguments in the text."""
    text = page.read_text()
    shown = "\n".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL))
    said = re.findall(r"`(landscope [^`]+ [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    lines = re.findall(r"""(?<![\w./-])landscope (?:"[^"]*"|[^\n;#"])+""", shown) + said
    return [line for line in lines if not re.search(r"\.\.\.|[A-Z]{4}", line)]  # placeholders


@pytest.mark.parametrize("page", [page for page in PAGES if command_lines(page)], ids=lambda page: page.stem)
def test_the_command_lines_parse(page):
    for line in command_lines(page):
        app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)


def test_a_line_that_does_not_parse_is_found():
    with pytest.raises(CycloptsError, match="learnig-rate"):
        app.parse_args(["run", "--learnig-rate", "1"], exit_on_error=False, print_error=False)
