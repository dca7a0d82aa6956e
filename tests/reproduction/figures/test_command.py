"""The command at the head of a page makes the same again."""

import shlex
from pathlib import Path

import pytest

from landscope.cli import app
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures import DEFAULTS, FIGURES, OF_SINGLE_RUNS, QUICK
from landscope.reproduction.figures.command import command_of
from landscope.reproduction.figures.figure import Plan


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"fit_modes": (2, 100), "bias": True, "hidden": (20, 30)}, " --fit-modes 2 100 --hidden 20 30 --bias"),
    ],
    ids=["defaults", "others"],
)
def test_settings_come_back_from_the_command(changes, words):
    settings = Settings.of({**DEFAULTS, **changes})
    command = command_of(Plan(Path("runs"), settings, 3), [FIGURES["fig6"]])
    assert command == f"`landscope reproduce fig6 --data mnist --seeds 3{words}`"
    _, bound, _ = app.parse_args(shlex.split(command.strip("`"))[1:], exit_on_error=False, print_error=False)
    given = bound.arguments["settings"]
    assert Settings.of({**DEFAULTS, **given.model_dump(include=given.model_fields_set)}) == settings


def test_groups_pairs_and_quick_sizes():
    plan = Plan(Path("runs"), Settings.of(QUICK), 2, quick=True, pairs=((50, 0.1), (100, 0.2)))
    command = command_of(plan, OF_SINGLE_RUNS)
    assert command == "`landscope reproduce figures --data digits --seeds 2 --pairs 50:0.1,100:0.2 --quick`"


def test_a_setting_without_a_value_stands_in_a_file():
    plan = Plan(Path("runs"), Settings.of({**DEFAULTS, "flatness_modes": None}), 3)
    assert command_of(plan, [FIGURES["fig2"]]) == (
        "`landscope reproduce fig2 --data mnist --seeds 3 --config nulls.yaml`, "
        "with `flatness_modes: null` in `nulls.yaml`"
    )
