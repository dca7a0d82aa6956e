"""The Python on each page of the site runs as it stands, block after block, and links lead somewhere."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts and "results" not in page.parts)
ELSEWHERE = {
    "models": "tests/models/first/test_first.py",
    "two-tasks": "tests/test_docs_tutorials.py",
    "trainers": "tests/test_docs_tutorials.py",
    "your-loop": "tests/test_docs_tutorials.py",
}


def blocks(page):
    """The Python of a page, without the scripts of several processes: tests/test_docs_processes.py runs these."""
    found = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    return [block for block in found if "init_process_group" not in block]


def links(page):
    return re.findall(r"\]\(([^)#]+)\)", page.read_text())


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page) and page.stem not in ELSEWHERE], ids=lambda page: page.stem
)
def test_the_code_runs(page, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    scope = {}
    for block in blocks(page):
        exec(compile(block, page.name, "exec"), scope)
    assert "nan" not in re.findall(r"\w+", capsys.readouterr().out)


def test_pages_whose_code_runs_elsewhere_are_named_there():
    for stem, test in ELSEWHERE.items():
        assert f"{stem}.md" in (DOCS.parent / test).read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_links_lead_somewhere(page):
    for target in links(page):
        assert target.startswith("http") or (page.parent / target).exists(), target
