"""Pictures of plotly figures, drawn by a Chromium on the PATH."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from playwright.sync_api import Page, sync_playwright
from plotly.offline import get_plotlyjs

__all__ = ["Camera", "camera", "chromium"]

_DRAW = """([figure, size]) => {
    figure.layout = {...figure.layout, width: size.width, height: size.height};
    return Plotly.toImage(figure, size);
}"""


def chromium() -> str | None:
    """Path of a Chromium, or None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path is not None), None)


class Camera:
    """Writes figures as pictures; one tab of one browser draws them all.

    Args:
        tab: A tab in which plotly.js is loaded.
    """

    def __init__(self, tab: Page) -> None:
        self._tab = tab

    def write(self, figure: go.Figure, path: Path, width: int, *, scale: float = 2) -> None:
        """Write a figure in the format that the suffix names: ``.png``, ``.webp``, ``.jpeg`` or ``.svg``.

        Args:
            figure: The figure; its height is that of its layout.
            path: Where to write it.
            width: Width in CSS pixels.
            scale: Pixels of the picture for a CSS pixel.
        """
        size: dict[str, Any] = {"width": width, "height": height_of(figure), "scale": scale, "format": path.suffix[1:]}
        drawn = self._tab.evaluate(_DRAW, [json.loads(figure.to_json()), size])
        path.write_bytes(base64.b64decode(drawn.partition(",")[2]))


def height_of(figure: go.Figure) -> int:
    """Height of a figure in CSS pixels."""
    return int(figure.layout.height or 450)


@contextlib.contextmanager
def camera() -> Generator[Camera]:
    """A camera for a block of code.

    Raises:
        FileNotFoundError: If there is no Chromium on the PATH.
    """
    path = chromium()
    if path is None:
        raise FileNotFoundError("needs a Chromium on the PATH, such as Debian's package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1000, "height": 800})
        tab.set_content("<!doctype html><meta charset=utf-8><body></body>")
        tab.add_script_tag(content=get_plotlyjs())
        yield Camera(tab)
        browser.close()
