"""Every damage of a folder of tasks, or of a run that a figure measures, is healed by the command that made it."""

import contextlib
import warnings

import pytest

import damages
import landscope as ls
from landscope.cli import main
from landscope.errors import LandscopeWarning
from landscope.progress import QuietReporter
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.figures import sec_s6
from landscope.reproduction.figures.figure import Plan
from landscope.reproduction.figures.sec_s6.cases import CASES
from landscope.reproduction.reproduce import reproduce
from small_run import SMALL

TASKS = (
    "--train-samples", "200", "--methods", "l2:0.1", "--methods", "ewc:10", "--max-epochs", "3", "--window-epochs", "1",
)  # fmt: skip
SMALL_FIGURE = {**SMALL, "fit_modes": [2, 12], "flatness_modes": 12, "spectrum_ranks": [2, 10], "n_nulls": 1}


@contextlib.contextmanager
def may_say_what_it_writes_again():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LandscopeWarning)
        yield


def learnt(folder, seed=0):
    with pytest.raises(SystemExit) as stopped, may_say_what_it_writes_again():
        main(["continual", *TASKS, "--seed", str(seed), "--out", str(folder), "--json"])
    return stopped.value.code


def numbers(folder):
    """All results but the seconds that they took."""
    found = {}
    for file in sorted(folder.glob("*.zarr.zip")):
        result = ls.load(file)
        fields = {**result.tensors(), **result.attributes()}
        known = {name: str(value) for name, value in fields.items() if "seconds" not in name and name != "provenance"}
        found |= {f"{file.name} {name}": value for name, value in known.items()}
    return found


@pytest.mark.slow
def test_tasks_one_after_another(tmp_path):
    whole, other, place, wrong = tmp_path / "whole", tmp_path / "other", tmp_path / "place", []
    assert (learnt(whole), learnt(other, seed=1)) == (0, 0)
    wanted = numbers(whole)
    for file in damages.files_of(whole):
        for kind in damages.KINDS:
            damages.restored(place, whole)
            name = file.relative_to(whole)
            if damages.damaged(place / name, kind, other / name) and (learnt(place) or numbers(place) != wanted):
                wrong.append((str(name), kind))
    assert wrong == []


@pytest.mark.slow
def test_runs_that_a_figure_measures(tmp_path, monkeypatch):
    """Section S6: exponents of single layers, beside the results of the study of the run."""
    monkeypatch.setattr(sec_s6, "CASES", tuple(case for case in CASES if case.key == "adam" and case.preconditioned))
    monkeypatch.setattr(sec_s6, "_QUICK_MODES", 5)
    whole, place, wrong = tmp_path / "whole", tmp_path / "place", []

    def reproduced(folder):
        with may_say_what_it_writes_again():
            reproduce(Plan(folder, Settings.of(SMALL_FIGURE), seeds=2, quick=True), [sec_s6], QuietReporter())

    reproduced(whole)
    wanted, run, other = damages.digests(whole), "runs/adam-seed0", whole / "runs" / "adam-seed1"
    assert any("relation-" in name for name in wanted)
    for batch in damages.batches(whole / run, seed=0):
        damages.restored(place, whole)
        done = [one for one in batch if damages.damaged(place / run / one[0], one[1], other / one[0])]
        if done:
            reproduced(place)
            if damages.digests(place) != wanted:
                wrong.append(done)
    assert wrong == []
