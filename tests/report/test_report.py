"""The page is self-contained and readable, and a browser shows it without errors."""

import re
import shutil
from pathlib import Path

import plotly.graph_objects as go
import pytest

from landscope.plots.style import as_html

ROOT = Path(__file__).parents[2]

OUTSIDE = """
[...document.querySelectorAll('.js-plotly-plot')].flatMap(plot => {
  const box = plot.getBoundingClientRect();
  const legend = plot.querySelector('.legend')?.getBoundingClientRect();
  return [...plot.querySelectorAll('.xtitle, .x2title, .x3title, .ytitle, .y2title, .legend')].filter(part => {
    const r = part.getBoundingClientRect();
    const beside = r.left < box.left - 1 || r.right > box.right + 1;
    const outside = beside || r.top < box.top - 1 || r.bottom > box.bottom + 1;
    const touches = part.classList.contains('xtitle') && legend && r.bottom > legend.top + 1;
    return outside || touches;
  }).map(part => plot.id + ' ' + part.getAttribute('class'));
})
"""
"""Titles and legends that reach out of their plot, or titles of x that touch the legend."""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def page(small_run):
    return small_run.report()


def test_the_page_holds_everything_and_links_nothing(page):
    html = page.read_text()
    assert "Content-Security-Policy" in html
    without_script = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", without_script)
    for text in ("Comparison with the paper", "shuffled increments", "Fig. 1", "Fig. 2", "contested"):
        assert text in html
    for name in (
        "training_curves",
        "variance_spectrum",
        "accumulated_variance",
        "path_along_first_modes",
        "loss_profiles",
        "log_loss_profiles",
        "flatness_against_rank",
        "variance_against_flatness",
    ):
        assert f'id="{name}"' in html


def test_text_of_a_study_is_never_markup():
    hostile = "</script><img src=x onerror=alert(1)>"
    html = as_html(go.Figure(go.Scatter(y=[1, 2], name=hostile), layout={"title": hostile}), "drawn")
    assert "<img" not in html
    assert html.count("</script>") == 1
    templates = ROOT / "src/landscope/templates"
    unescaped = {name for path in templates.iterdir() for name in re.findall(r"(\w+) \| safe", path.read_text())}
    assert unescaped == {"plotly_js", "html", "name"}  # of plotly, and headings of the page itself, escaped before


@pytest.mark.browser
def test_the_page_in_a_browser(page, tmp_path):
    if CHROMIUM is None:
        pytest.skip("no Chromium on the PATH: install Debian's chromium to look at the page")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})
        tab = context.new_page()
        requests, problems = [], []
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        tab.goto(page.as_uri())
        tab.wait_for_function("document.querySelectorAll('.main-svg').length >= 8")
        assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
        assert problems == []
        # Nothing wider than the page, no empty plot, and no plot drawn over its neighbour.
        assert tab.evaluate("document.documentElement.scrollWidth") <= 1200
        boxes = tab.evaluate(
            "[...document.querySelectorAll('figure')].map(f => { const r = f.getBoundingClientRect();"
            " return [r.left, r.top, r.right, r.bottom] })"
        )
        assert all(right - left > 300 and bottom - top > 300 for left, top, right, bottom in boxes)
        for i, a in enumerate(boxes):
            for b in boxes[i + 1 :]:
                assert a[2] <= b[0] + 1 or b[2] <= a[0] + 1 or a[3] <= b[1] + 1 or b[3] <= a[1] + 1
        for width in (700, 1600):
            tab.set_viewport_size({"width": width, "height": 900})
            tab.wait_for_timeout(300)  # plotly draws anew
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert tab.evaluate(OUTSIDE) == []
        points = tab.evaluate("[...document.querySelectorAll('.js-plotly-plot')].map(p => p.data.length)")
        assert min(points) >= 1
        shot = tmp_path / "page.png"
        tab.screenshot(path=shot, full_page=True)
        assert shot.stat().st_size > 100_000
        tab.emulate_media(media="print")
        assert tab.pdf(path=tmp_path / "page.pdf")
        browser.close()
