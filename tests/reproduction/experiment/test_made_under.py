"""Results of experiments name their settings and numbers: what is damaged or another's is made again, and said."""

import contextlib
import functools
import shutil

import pytest
import torch

import damages
from landscope.errors import LandscopeWarning, StorageError
from landscope.power_law import PowerLaw, fit_power_law
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.experiment.settings import Settings
from landscope.reproduction.sequential.kept_results import make_missing
from small_run import Listening

TRIALS = {"one": 1.5, "two": 2.5}
NUMBERS = {"steps": 10}


def law(seed, exponent):
    x = torch.tensor([1.0, 2.0, 4.0])
    return fit_power_law(x, (1 + seed) * x**exponent)


def made(path, seed=0, numbers=NUMBERS):
    """What was said while the missing results of a seed were made."""
    reporter = Listening()
    make_missing(path, Settings(seed=seed), TRIALS, lambda: functools.partial(law, seed), reporter, numbers)
    return " ".join(reporter.said)


@pytest.fixture
def folders(tmp_path):
    """The folders of two seeds, and a copy of the first."""
    for seed in (0, 1):
        made(tmp_path / str(seed), seed)
    return tmp_path / "0", tmp_path / "1", shutil.copytree(tmp_path / "0", tmp_path / "copy")


def contents(path):
    texts = {name: (path / name).read_text() for name in ("experiment.yaml", "numbers.json")}
    return {**damages.digests(path), **texts}


@pytest.mark.parametrize("kind", damages.KINDS)
@pytest.mark.parametrize("name", ["one.zarr.zip", "experiment.yaml", "numbers.json"])
def test_what_is_damaged_is_named_and_made_again(folders, name, kind):
    whole, other, place = folders
    if not damages.damaged(place / name, kind, other / name):
        assert (name, kind) == ("numbers.json", "replaced")  # it says the same for both seeds
        return
    with contextlib.nullcontext() if name == "one.zarr.zip" else pytest.warns(LandscopeWarning, match=name):
        said = made(place)
    assert contents(place) == contents(whole)
    reasons = {"deleted": "", "replaced": "one is made again:[/yellow] the file is made under other settings"}
    if name == "one.zarr.zip":
        assert reasons.get(kind, "one is made again:[/yellow] the file is damaged") in said
    assert made(place) == ""


def test_results_of_other_numbers_are_refused_and_single_ones_made_again(folders):
    whole, _, place = folders
    with pytest.raises(StorageError, match=r"results of steps 11 .*; got some of steps 10"):
        made(place, numbers={"steps": 11})
    (place / "numbers.json").unlink()
    with pytest.raises(StorageError, match=r"results of steps 11 .*; got some of another steps"):
        made(place, numbers={"steps": 11})
    eleven = whole.with_name("eleven")
    made(eleven, numbers={"steps": 11})
    shutil.copy(eleven / "one.zarr.zip", place / "one.zarr.zip")
    with pytest.warns(LandscopeWarning, match=r"numbers.json"):
        assert "one is made again:[/yellow] the file is made under other settings" in made(place)
    assert contents(place) == contents(whole)


def test_a_result_of_another_seed_is_not_read(folders):
    _, other, place = folders
    shutil.copy(other / "one.zarr.zip", place / "one.zarr.zip")
    with pytest.raises(StorageError, match=r"a result made under other settings.*makes the result again"):
        ExperimentFolder.open(place).load("one", PowerLaw)


def test_settings_that_were_asked_otherwise_are_refused(folders):
    place = folders[2]
    with pytest.raises(StorageError, match="seed: 0 there, 1 asked"):
        made(place, seed=1)


def test_a_folder_of_another_purpose_stays_what_it_is(folders):
    place = folders[2]
    before = (place / "experiment.yaml").read_text()
    with pytest.raises(StorageError, match="a folder of landscope continual"):
        ExperimentFolder.create(place, Settings(), "continual")
    assert (place / "experiment.yaml").read_text() == before
    (place / "experiment.yaml").unlink()
    with pytest.raises(StorageError, match="an empty folder or a run"):
        ExperimentFolder.create(place, Settings(), "continual")
    assert not (place / "experiment.yaml").exists()
