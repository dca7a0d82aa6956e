"""Results of another study, of older parents, and damaged ones are named and made again, with the same numbers."""

import shutil

import pytest

import landscope as ls
from landscope.errors import StorageError
from landscope.law.exponents import Exponents
from landscope.progress import QuietReporter
from landscope.reproduction.experiment.run import ExperimentRun
from small_run import Listening, assert_same


@pytest.fixture
def copied(small_run, tmp_path):
    shutil.copytree(small_run.path, tmp_path / "run")
    return ExperimentRun.open(tmp_path / "run")


def numbers(run):
    found = {}
    for name in run.results.folder.names():
        result = ls.load(run.file(name))
        found |= {f"{name}.{key}": value for key, value in result.tensors().items()}
        found |= {f"{name}.{key}": value for key, value in result.attributes().items() if key != "provenance"}
    return found


def test_a_finished_study_is_left_as_it_is(copied):
    before = {file: file.stat().st_mtime_ns for file in copied.path.glob("*.zarr.zip")}
    reporter = Listening()
    copied.analyse(reporter)
    assert reporter.made_again() == []
    assert {file: file.stat().st_mtime_ns for file in copied.path.glob("*.zarr.zip")} == before


def test_results_of_another_seed_are_named_and_made_again(copied, other_run, small_run):
    names = [name for name in copied.results.folder.names() if name not in ("training", "preconditioner")]
    for name in names:
        shutil.copy(other_run.file(name), copied.file(name))
    with pytest.raises(StorageError, match=r"made from another recording.*landscope analyse"):
        copied.results.folder.load("exponents-in-sample", Exponents)
    reporter = Listening()
    copied.analyse(reporter)
    assert set(reporter.made_again()) == set(names)
    assert_same(numbers(copied), numbers(small_run))


@pytest.mark.parametrize("damage", ["halved", "emptied", "flipped", "deleted"])
def test_damaged_results_are_made_again(copied, small_run, damage):
    names = [name for name in copied.results.folder.names() if name != "training"]
    for name in names[::3]:
        file = copied.file(name)
        content = bytearray(file.read_bytes())
        content[len(content) // 3] ^= 1
        left = {"halved": content[: len(content) // 2], "emptied": b"", "flipped": content}.get(damage)
        file.unlink() if left is None else file.write_bytes(bytes(left))
    copied.analyse(QuietReporter())
    assert_same(numbers(copied), numbers(small_run))


def test_what_was_made_from_another_result_is_made_again(copied):
    folder = copied.results.folder
    modes = ls.load(copied.file("modes"))
    folder.save("modes", modes.part(slice(0, modes.directions.shape[0] - 1)), folder.heading("modes").identity)
    reporter = Listening()
    copied.analyse(reporter)
    again = reporter.made_again()
    assert "flatness" in again
    assert any("made from another modes" in line for line in reporter.said)
