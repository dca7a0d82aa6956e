"""Every figure of a study is one call, is not empty, and has the common layout."""

import dataclasses
import importlib.util
import math
import re
import shutil

import numpy as np
import pytest
import torch

import landscope as ls
import small_study as small
from landscope.landscape import Flatness
from landscope.law.exponents import Exponents
from landscope.plots.style import new_figure
from landscope.report import CAPTIONS, SECTIONS, WIDE
from landscope.study.figures import FIGURES

MARGIN = new_figure("x", "y").layout.margin
OVER_TRAINING = "temperature_profiles_over_training"
LONGEST_TITLE = 36
"""Characters of a title that fit the height of a plot."""


@pytest.fixture(scope="module")
def figures(analysed, tmp_path_factory):
    """Every figure: those of the analysed study, and those of a training that went on."""
    folder = shutil.copytree(analysed.path, tmp_path_factory.mktemp("figures") / "continued")
    study = small.opened(folder, evaluate=small.evaluate, train_on=small.train_on, steps_per_epoch=10)
    study.analyse(noise=True, controls=True, dynamics=True, progress=False)
    return study.plots.available()


def seen(title):
    return re.sub(r"<[^>]+>", "", title or "")


def test_every_figure_has_a_caption_and_one_place_on_the_page(figures):
    placed = ["training_curves", *(name for section in SECTIONS for name in section.figures)]
    assert sorted(placed) == sorted(FIGURES) == sorted(CAPTIONS)
    assert set(WIDE) <= set(FIGURES)
    assert set(figures) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_shows_something_and_says_what(figures, name):
    figure = figures[name]
    assert any(np.isfinite(np.asarray(trace.x, dtype=float)).any() for trace in figure.data)
    assert all(trace.name for trace in figure.data if trace.showlegend is not False)
    for axes in (list(figure.select_xaxes()), list(figure.select_yaxes())):
        titles = [seen(axis.title.text) for axis in axes]
        assert all(len(title) <= LONGEST_TITLE for title in titles)
        assert any(titles) or name == "exponents"


@pytest.mark.parametrize("name", FIGURES)
def test_no_figure_has_a_layout_of_its_own(figures, name):
    layout = figures[name].layout
    assert layout.margin == MARGIN
    assert layout.showlegend
    assert layout.legend.yref == "container"
    # A title above a plot would lie below the mode bar; the spans of the training are named within the plot.
    assert all(note.yref != "paper" for note in layout.annotations)


def test_the_first_step_of_the_training_is_dark_enough_to_see(figures):
    opacity = [float(trace.line.color.split(",")[-1].rstrip(")")) for trace in figures[OVER_TRAINING].data]
    assert opacity == sorted(opacity)
    assert opacity[0] >= 0.3


@pytest.fixture
def without_flatness(analysed, tmp_path):
    """An analysed study in which no direction has a measurable flatness."""
    study = ls.Study(shutil.copytree(analysed.path, tmp_path / "without"))
    for name in study.folder.names():
        result = ls.load(study.folder.file(name))
        if isinstance(result, Flatness | Exponents):
            changed = {"width": result.width * math.nan, "bracketed": torch.zeros_like(result.bracketed)}
            changed |= {"right": result.right * math.nan} if isinstance(result, Flatness) else {}
            changed |= {"used": torch.zeros_like(result.used), "n_used": 0} if isinstance(result, Exponents) else {}
            study.folder.save(name, dataclasses.replace(result, **changed))
    return study


def test_a_figure_against_flatness_is_left_out_where_no_flatness_was_measured(without_flatness):
    left_out = {
        "flatness_against_rank", "variance_against_flatness", "noise_against_flatness",
        "correlation_time_against_flatness", "temperature_against_flatness", "equilibrium",
        "cooling_rates_against_flatness", "flatness_at_two_levels",
    }  # fmt: skip
    shown = without_flatness.plots.available()
    assert not left_out & shown.keys()
    assert not any("nan" in (trace.name or "") for trace in shown["log_loss_profiles"].data)
    page = without_flatness.report().read_text()
    reason = "not measured: no direction has a measurable flatness"
    assert f"<b>C. Flatness against rank; D. Variance against flatness</b>: {reason}" in page


@pytest.mark.skipif(importlib.util.find_spec("kaleido") is not None, reason="kaleido is installed")
def test_saving_a_picture_without_kaleido_names_kaleido(figures, tmp_path):
    with pytest.raises(RuntimeError, match=r"pip install .*kaleido"):
        figures["variance_against_flatness"].write_image(tmp_path / "law.svg")


def test_profiles_show_the_level_at_which_flatness_is_read(recorded):
    study = small.opened(recorded, ratio=1.5, n_nulls=0)
    study.analyse(progress=False)
    layout = study.plots.loss_profiles().layout
    level = layout.shapes[0]
    assert level.label.text == "1.5 L₀"
    assert level.y0 == pytest.approx(1.5 * study.flatness.loss0)
    assert layout.yaxis.autorangeoptions.include > level.y0  # room for the label
