"""The files of a page of the gallery: data of each figure as a script, its picture, and what the page says of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import plotly
import plotly.graph_objects as go
from gallery_pages import blocks_of, figures_of
from pictures import Camera, camera, chromium, height_of

import landscope
from landscope.report import WIDE

__all__ = ["NARROW", "WIDTH", "Shown", "page_files", "runs_of", "write_figure"]

WIDTH, NARROW = 720, 370
"""CSS pixels of a picture: the width of the text on a wide screen, and on a telephone."""
LONGEST_NAME = 45
"""Characters of a name in a legend that fit the narrow picture."""


@dataclass(frozen=True)
class Shown:
    """What a page says of a figure.

    Args:
        height: Height in CSS pixels, at the width of a picture.
        alt: Axes and curves in words.
        picture: Whether a picture was drawn.
        narrow: Whether one was drawn for a telephone, too; not of figures that need the full width.
    """

    height: int
    alt: str
    picture: bool
    narrow: bool


def page_files(page: Path, cache: Path) -> tuple[dict[str, Shown], Path]:
    """Draw the figures of a page, or take those of an earlier build where nothing has changed.

    Args:
        page: The page.
        cache: Folder that builds share.

    Returns:
        What to say of each figure by name, and the folder that holds NAME.js, NAME.webp and NAME-narrow.webp of each.
    """
    folder, key = cache / "pages" / page.stem, _key(page)
    index = folder / "index.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        kept = json.loads(index.read_text(encoding="utf-8"))
        if kept["key"] == key:
            return {name: Shown(**shown) for name, shown in kept["figures"].items()}, folder
    os.environ["GALLERY_RUNS"] = str(runs_of(page.parent, cache))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    drawn = dict(figures_of(page))
    with contextlib.ExitStack() as stack:
        lens = stack.enter_context(camera()) if drawn and chromium() else None
        figures = {name: write_figure(name, figure, folder, lens) for name, figure in drawn.items()}
    kept = {"key": key, "figures": {name: asdict(shown) for name, shown in figures.items()}}
    index.write_text(json.dumps(kept), encoding="utf-8")
    return figures, folder


def runs_of(gallery: Path, cache: Path) -> Path:
    """Folder of the runs of a gallery; another one where the code of its trainings is another."""
    return cache / "runs" / _of_files(gallery.glob("*.py"))


def write_figure(name: str, figure: go.Figure, folder: Path, lens: Camera | None) -> Shown:
    """Write the data of a figure as a script, and its pictures where there is a camera."""
    data = json.loads(figure.to_json())
    (folder / f"{name}.js").write_text(
        f"landscopeFigures[{json.dumps(name)}] = {json.dumps(data, separators=(',', ':'))};\n", encoding="utf-8"
    )
    narrow = lens is not None and name not in WIDE and _fits_a_telephone(figure)
    if lens is not None:
        lens.write(figure, folder / f"{name}.webp", WIDTH)
    if lens is not None and narrow:
        lens.write(figure, folder / f"{name}-narrow.webp", NARROW)
    return Shown(height_of(figure), _in_words(name, figure), lens is not None, narrow)


def _fits_a_telephone(figure: go.Figure) -> bool:
    """Whether a figure has one column of plots, and short names in its legend."""
    columns = {(axis.domain or (0, 1))[0] for axis in figure.select_xaxes()}
    names = [_plain(trace.name) for trace in figure.data if trace.showlegend is not False]
    return len(columns) == 1 and max(map(len, names), default=0) <= LONGEST_NAME


def _in_words(name: str, figure: go.Figure) -> str:
    """The alternative text of a picture: what the axes and the curves are."""
    axes = [_plain(axis.title.text) for axis in (*figure.select_xaxes(), *figure.select_yaxes())]
    curves = [_plain(trace.name) for trace in figure.data if trace.showlegend is not False]
    said = [f"Figure: {name.replace('_', ' ')}"]
    said += [f"Axes: {', '.join(dict.fromkeys(filter(None, axes)))}"] if any(axes) else []
    said += [f"Shown: {', '.join(dict.fromkeys(filter(None, curves)))}"] if any(curves) else []
    return ". ".join(said) + "."


def _plain(text: Any) -> str:
    return re.sub(r"<[^>]+>", " ", text or "").replace("  ", " ").strip()


def _key(page: Path) -> str:
    """What the figures of a page depend on, its code and that of the package, and whether a browser is here."""
    blocks = [(block.name, block.code) for block in blocks_of(page.read_text(encoding="utf-8"))]
    package, builder = Path(landscope.__file__).parent, Path(__file__).parent
    files = [*page.parent.glob("*.py"), *package.rglob("*.py"), *builder.glob("gallery*.py"), builder / "pictures.py"]
    parts = [blocks, _of_files(files), plotly.__version__, chromium() is not None]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _of_files(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]
