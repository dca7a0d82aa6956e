"""Single-bit flips over all files of a study: each is refused, or changes nothing that is read."""

import shutil

import pytest

from damages import flips
from flips import flipped


@pytest.fixture
def study(small_run, tmp_path):
    return shutil.copytree(small_run.path, tmp_path / "run")


@pytest.mark.parametrize("count", [300, pytest.param(20_000, marks=pytest.mark.slow)])
def test_no_flip_is_read_wrongly_or_gives_a_raw_error(study, count):
    found = flipped(study, flips(study, count, seed=count))
    assert found["wrong"] == []
    assert found["raw"] == []
    assert found["refused"] + found["same"] == count
    assert found["refused"] > 0.99 * count
