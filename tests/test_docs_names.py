"""Names of the library that pages write as code exist."""

import functools
import re
from pathlib import Path

import pytest

import landscope

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if not {"_build", "results"} & set(page.parts))


def names(page):
    return re.findall(r"`(?:ls|landscope)\.((?:\w+\.)*\w+)", page.read_text())


@pytest.mark.parametrize("page", [page for page in PAGES if names(page)], ids=lambda page: page.stem)
def test_names_on_pages_exist(page):
    for name in names(page):
        try:
            functools.reduce(getattr, name.split("."), landscope)
        except AttributeError:
            module, _, last = name.rpartition(".")
            found = __import__(f"landscope.{module}" if module else f"landscope.{last}", fromlist=[last])
            assert not module or hasattr(found, last), f"{page.name}: landscope.{name}"
