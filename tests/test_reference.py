"""The pages of the reference name all that is public; they are read as text, and no page is built."""

import ast
import re
import shlex
from pathlib import Path

import pytest

from landscope.cli import app
from test_public_names import FROZEN

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "reference"
SOURCE = ROOT / "src" / "landscope"
OWN_LIST = (
    "study",
    "errors",
    "protocols",
    "results",
    "adapters.huggingface",
    "adapters.lightning",
    "adapters.avalanche",
)
"""Modules with a page whose names stand in their ``__all__``; those of the others are frozen."""


def listed(path):
    """The names in ``__all__`` of a file, without importing it."""
    assigned = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign)]
    return set(next(ast.literal_eval(node.value) for node in assigned if node.targets[0].id == "__all__"))


def public():
    """The public names of every module with a page."""
    modules = {name.removeprefix("landscope.") for name in (*FROZEN, *OWN_LIST)}
    for name, names in FROZEN.items():
        yield name, set(names.split()) - modules
    for name in OWN_LIST:
        path = SOURCE / name.replace(".", "/")
        yield f"landscope.{name}", listed(path / "__init__.py" if path.is_dir() else path.with_suffix(".py"))


def page_of(module):
    return PAGES / f"{module.rpartition('.')[2]}.rst"


def names_on_page(module):
    """The names that the directive of a page has, without the headings before a colon."""
    _, _, block = page_of(module).read_text().partition(f".. public-names:: {module}\n")
    return " ".join(line.rpartition(":")[2] for line in block.splitlines()).split()


@pytest.mark.parametrize(("module", "names"), list(public()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_public_name_has_its_place_on_a_page(module, names):
    page, found = page_of(module), names_on_page(module)
    assert not names - set(found), (
        f"add to docs/reference/{page.name}, under the heading that fits: {names - set(found)}"
    )
    assert not set(found) - names, f"take out of docs/reference/{page.name}, it is not public: {set(found) - names}"
    assert len(found) == len(set(found)), "named twice"


def test_the_map_leads_to_every_page():
    index = (PAGES / "index.md").read_text()
    for page in PAGES.glob("*.rst"):
        assert f"({page.name})" in index, f"add a question to docs/reference/index.md that leads to {page.name}"
        assert f"<{page.stem}>" in index, f"add {page.stem} to the toctree of docs/reference/index.md"


def commands():
    return [name for name in app if not name.startswith("-")]


def test_the_page_of_the_command_line_has_every_command():
    found = " ".join(re.findall(r"\.\. commands:: (.*)", (PAGES / "command-line.rst").read_text())).split()
    assert sorted(found) == sorted(commands()), "add the command to docs/reference/command-line.rst"


@pytest.mark.parametrize("name", commands())
def test_every_command_has_an_example_that_it_understands(name):
    _, there, example = app[name].help.partition("Example:")
    assert there, f"add 'Example: landscope {name} ...' to the end of the docstring"
    program, command, *arguments = shlex.split(example)
    assert (program, command) == ("landscope", name)
    app.parse_args([command, *arguments], exit_on_error=False, print_error=False)


def test_every_environment_variable_is_on_the_page_of_settings():
    text = "".join(path.read_text() for path in SOURCE.rglob("*.py") if "os.environ" in path.read_text())
    read = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)+)"', text))
    assert read
    assert read <= set(re.findall(r"\* - ``(\w+)``", (PAGES / "settings.rst").read_text()))
