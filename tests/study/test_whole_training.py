"""Whether a training is whole is decided in one place: who asks it names the same file."""

import shutil

import pytest

import damages
import small_study as small
from landscope.errors import StorageError
from landscope.storage.folder import ResultFolder
from landscope.study.check import check_study
from landscope.study.whole_training import check_rows, problems_of_training, reason_against_training


def first(folder, pattern):
    return sorted(folder.glob(pattern))[0]


DAMAGES = [
    ("trajectory/weights-*.npy", "flipped", "trajectory", False),
    ("trajectory/table.json", "halved", "trajectory", True),
    ("trajectory/committed.json", "deleted", "trajectory", True),
    ("training.json", "deleted", "training.json", True),
    ("training.json", "halved", "training.json", True),
    ("checkpoints/*.zarr.zip", "flipped", "checkpoints/", False),
    ("checkpoints/*.zarr.zip", "deleted", "checkpoints/", False),
]
"""Files, their damage, what is named, and whether the quick look at every opening sees it."""


def test_a_whole_training_has_no_problem(recorded):
    assert list(problems_of_training(ResultFolder(recorded))) == []
    assert reason_against_training(ResultFolder(recorded)) == ""
    check_rows(ResultFolder(recorded))


@pytest.mark.parametrize(("pattern", "kind", "named", "is_seen_at_once"), DAMAGES)
def test_a_damage_is_named_by_all_who_ask(recorded, pattern, kind, named, is_seen_at_once):
    file, folder = first(recorded, pattern), ResultFolder(recorded)
    assert damages.damaged(file, kind)
    (problem,) = problems_of_training(folder)
    assert problem.file.startswith(named)
    assert problem.lost
    assert reason_against_training(folder) == f"{problem.file}: {problem.error.got}"
    assert [one.file for one in check_study(recorded)] == [problem.file]
    if is_seen_at_once:
        with pytest.raises(StorageError):
            check_rows(folder)


def test_facts_of_another_training_are_named_by_the_results(recorded, tmp_path):
    """The rows and the results agree, so the note is the odd one; without results nothing tells which of two is."""
    study, model, optimizer = small.begin(tmp_path / "other")
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer, first=1001, last=1240)
    small.opened(recorded, n_nulls=0, n_processes=0).analyse(until="modes", progress=False)
    shutil.copy(tmp_path / "other" / "training.json", recorded / "training.json")
    assert next(problems_of_training(ResultFolder(recorded))).file == "training.json"
    for file in recorded.glob("*.zarr.zip"):
        file.unlink()
    assert next(problems_of_training(ResultFolder(recorded))).file == "trajectory"
