"""Every figure is in the gallery; its pages run as they stand."""

import importlib
import inspect
import pkgutil
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs

from landscope import plots
from landscope.memory.report import figures as memory_figures
from landscope.study.figures import FIGURES

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted((DOCS / "gallery").glob("*.md"))


@pytest.fixture(scope="module")
def gallery():
    """The module that reads and runs the pages."""
    sys.path.insert(0, str(DOCS / "_ext"))
    yield importlib.import_module("gallery_pages")
    sys.path.remove(str(DOCS / "_ext"))


def functions_that_draw():
    """Every function of the package whose result is a figure, by its public name."""
    modules = [
        importlib.import_module(f"{plots.__name__}.{found.name}") for found in pkgutil.iter_modules(plots.__path__)
    ]
    named = [(module, name) for module in modules if module is not plots.style for name in module.__all__]
    named += [(memory_figures, name) for name in memory_figures.__all__]
    return {
        name for module, name in named if "Figure" in str(inspect.signature(getattr(module, name)).return_annotation)
    }


def test_every_figure_is_in_the_gallery(gallery):
    wanted = functions_that_draw() | set(FIGURES)
    assert {"fields", "loss_between", "old_against_new", "path_along_first_modes"} <= wanted
    missing = gallery.names_missing(PAGES, wanted)
    assert not missing, (
        f"add ```{{gallery-figure}} {sorted(missing)[0]} with its code to the page in docs/gallery whose question it "
        f"answers; not there yet: {', '.join(sorted(missing))}"
    )


def test_the_reference_leads_from_each_figure_to_its_heading_in_the_gallery(gallery):
    places = gallery.places_of(PAGES)
    drawn = {name for name in functions_that_draw() if hasattr(plots, name)}
    assert not drawn - set(places), "put a heading (##) above the figure"
    for page in PAGES:
        headings = [line for line in page.read_text().splitlines() if line.startswith("## ")]
        assert len(set(headings)) == len(headings), f"{page.name}: the link cannot tell equal headings apart"
    assert places["variance_against_flatness"] == ("law", "Variance against flatness")


def test_each_figure_has_one_place(gallery):
    names = [block.name for page in PAGES for block in gallery.blocks_of(page.read_text()) if block.name]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", FIGURES)
def test_the_figure_of_a_study_is_drawn_by_its_call(gallery, name):
    (block,) = [block for page in PAGES for block in gallery.blocks_of(page.read_text()) if block.name == name]
    assert re.search(rf"plots\.{name}\(", block.code)


def test_a_page_runs_in_one_scope_and_gives_its_figures(gallery, tmp_path):
    (tmp_path / "helper_of_page.py").write_text("COLOR = 'red'\n")
    page = tmp_path / "page.md"
    code = "```{gallery-code}\nimport plotly.graph_objects as go\nfrom helper_of_page import COLOR\n```\n"
    page.write_text(
        f"# Page\n\n{code}\n```{{gallery-figure}} drawn\nwidth = 2\ngo.Figure(layout={{'title': COLOR}})\n```\n"
    )
    ((name, figure),) = gallery.figures_of(page)
    assert (name, figure.layout.title.text) == ("drawn", "red")
    assert [block.line for block in gallery.blocks_of(page.read_text())] == [4, 9]
    assert str(tmp_path) not in sys.path


def test_a_block_without_a_figure_is_named(gallery, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```{gallery-figure} nothing\nx = 1\n```\n")
    with pytest.raises(TypeError, match=r"page.md:2: the last line of nothing must be .* plotly figure; .* NoneType"):
        list(gallery.figures_of(page))


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a Chromium on the PATH")
def test_a_figure_becomes_interactive_by_keyboard_and_asks_no_other_host(gallery, tmp_path):
    entry, files = importlib.import_module("gallery"), importlib.import_module("gallery_files")
    from playwright.sync_api import sync_playwright

    figure = go.Figure(go.Scatter(x=[1, 2], y=[3, 4], name="a curve"), layout={"height": 300, "xaxis_title": "step"})
    lens = SimpleNamespace(write=lambda figure, path, width: path.write_bytes(b""))  # the browser below is enough
    shown = files.write_figure("drawn", figure, tmp_path, lens)
    (tmp_path / "plotly.min.js").write_text(get_plotlyjs())
    body = entry.figure_html("drawn", shown, ".")
    script, style = ((DOCS / "_static" / name).as_uri() for name in ("gallery.js", "gallery.css"))
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><link rel=stylesheet href={style}><script src={script}></script>{body}<p>below")
    asked = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 700, "height": 600})
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(page.as_uri())
        assert not any("plotly" in url for url in asked)
        assert tab.get_by_role("img", name="Figure: drawn. Axes: step. Shown: a curve.").is_visible()
        before = tab.locator("p").bounding_box()
        tab.keyboard.press("Tab")
        tab.keyboard.press("Enter")
        tab.wait_for_selector(".gallery-plot .main-svg")
        button = tab.get_by_role("button", name="Interactive: drawn", pressed=True)
        assert button.evaluate("button => button === document.activeElement")
        assert abs(tab.locator("p").bounding_box()["y"] - before["y"]) < 1
        tab.keyboard.press("Enter")
        assert tab.locator("img").is_visible()
        browser.close()
    assert all(url.startswith("file://") for url in asked)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_pages_draw_figures_with_points(gallery, page, monkeypatch, tmp_path_factory):
    """What ``make docs`` runs, without the pictures; all pages share one folder of runs."""
    folder = tmp_path_factory.getbasetemp() / "gallery-runs"
    monkeypatch.setenv("GALLERY_RUNS", str(folder))
    for name, figure in gallery.figures_of(page):
        assert isinstance(figure, go.Figure), name
        assert any(len(trace.x if trace.x is not None else ()) for trace in figure.data), name
