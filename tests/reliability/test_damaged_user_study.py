"""Every damage of a study of a user's own training, with every stage, is named; the command heals what can be made."""

import shutil

import pytest

import damages
import user_study
from landscope.cli import main
from landscope.study.check import check_study

RECORDED = ("trajectory/", "checkpoints/", "training.json")
"""What only a copy, or the training itself, brings back."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return user_study.finished(tmp_path_factory.mktemp("user") / "whole").path


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return user_study.finished(tmp_path_factory.mktemp("user") / "other", seed=3).path


def names_of(folder):
    return [file.relative_to(folder) for file in damages.files_of(folder)]


def analysed(place):
    """The exit status of the command that the check states."""
    with pytest.raises(SystemExit) as caught:
        main(["analyse", str(place), "--study", "user_study:made", *user_study.FURTHER, "--json"])
    return caught.value.code


@pytest.mark.slow
def test_every_damage_is_named(whole, other):
    missed, tried = [], 0
    for kind in damages.KINDS:
        for file in damages.files_of(whole):
            name, content = str(file.relative_to(whole)), file.read_bytes()
            if damages.damaged(file, kind, other / name):
                tried += 1
                named = check_study(whole)
                if not any(name.startswith(one.file) and one.lost and one.remedy for one in named):
                    missed.append((name, kind))
            file.write_bytes(content)
    assert missed == []
    assert tried > 4 * len(damages.files_of(whole))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::landscope.errors.LandscopeWarning")  # settings that are written again are said
def test_the_stated_command_heals_what_an_analysis_makes(whole, other, tmp_path):
    wanted, place, wrong, tried = damages.digests(whole), tmp_path / "place", [], 0
    for batch in damages.batches(whole, seed=0, size=8):
        damages.restored(place, whole)
        done = [one for one in batch if not one[0].startswith(RECORDED)]
        done = [one for one in done if damages.damaged(place / one[0], one[1], other / one[0])]
        tried += len(done)
        if done and (analysed(place) or damages.digests(place) != wanted or check_study(place)):
            wrong.append(done)
    assert wrong == []
    assert tried > 300


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::landscope.errors.LandscopeWarning")  # what is missing is said
def test_a_damaged_recording_gives_no_other_numbers_and_a_copy_heals_it(whole, other, tmp_path, capsys):
    """The command ends with an error, or with the same numbers where the damage is of nothing that it reads."""
    wanted, place, wrong = damages.digests(whole), tmp_path / "place", []
    recorded = [name for name in map(str, names_of(whole)) if name.startswith(RECORDED)]
    models = [name for name in recorded if name.startswith("checkpoints/")]
    for name in sorted({*recorded} - {*models}) + models[::5]:
        for kind in damages.KINDS:
            damages.restored(place, whole)
            if not damages.damaged(place / name, kind, other / name):
                continue
            (place / "flatness.zarr.zip").unlink()
            failed = analysed(place)
            shutil.copyfile(whole / name, place / name)
            said = capsys.readouterr()
            if (failed and "Traceback" in said.err) or analysed(place) or damages.digests(place) != wanted:
                wrong.append((name, kind, failed))
    assert wrong == []
