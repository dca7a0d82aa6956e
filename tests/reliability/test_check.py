"""Every damage of a finished study is named, with what is lost and what makes it whole."""

import shutil

import pytest

import damages
from landscope.cli import main
from landscope.files import write_yaml
from landscope.study.check import check_study


@pytest.fixture(scope="module")
def whole(small_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(small_run.path, folder)
    return folder


def test_a_whole_study_is_whole(whole, capsys):
    assert check_study(whole) == []
    with pytest.raises(SystemExit) as caught:
        main(["check", str(whole)])
    assert not caught.value.code
    assert "is whole" in capsys.readouterr().out


def unnamed(whole, other, kinds, some):
    """Damages that the check does not name, with what is lost and what makes it whole."""
    found, tried = [], 0
    for number, kind in enumerate(kinds):
        for file in some(number, damages.files_of(whole)):
            name, content = str(file.relative_to(whole)), file.read_bytes()
            if damages.damaged(file, kind, other / name):
                tried += 1
                named = check_study(whole)
                if not any(name.startswith(one.file) and one.lost and one.remedy for one in named):
                    found.append((name, kind))
            file.write_bytes(content)
    assert tried
    return found


def test_damaged_files_are_named(whole):
    assert unnamed(whole, whole, damages.KINDS[:4], lambda number, files: files[number::12]) == []
    assert check_study(whole) == []


@pytest.mark.slow
def test_every_damage_of_every_file_is_named(whole, other_run):
    assert unnamed(whole, other_run.path, damages.KINDS, lambda _, files: files) == []


@pytest.mark.slow
def test_the_stated_command_heals_every_damage_with_the_same_numbers(whole, other_run, tmp_path):
    """Twelve damages at a time; those of the settings and of the training alone, as one is restored from the other."""
    wanted, place, wrong = damages.digests(whole), tmp_path / "place", []
    for batch in damages.batches(whole, seed=0):
        damages.restored(place, whole)
        done = [one for one in batch if damages.damaged(place / one[0], one[1], other_run.path / one[0])]
        if not done:
            continue
        commands = {one.remedy for one in check_study(place)}
        with pytest.raises(SystemExit) as caught:
            main(["analyse", str(place), "--json"])
        if caught.value.code or damages.digests(place) != wanted or check_study(place):
            wrong.append((done, commands))
    assert wrong == []


def test_the_command_says_what_to_do(whole, capsys):
    file = whole / "modes.zarr.zip"
    content = file.read_bytes()
    file.write_bytes(b"")
    with pytest.raises(SystemExit) as caught:
        main(["check", str(whole)])
    file.write_bytes(content)
    assert caught.value.code == 1
    assert "modes.zarr.zip" in capsys.readouterr().out


def test_a_folder_of_tasks_is_no_study(tmp_path, capsys):
    write_yaml(tmp_path / "experiment.yaml", {"purpose": "continual", "settings": {}})
    with pytest.raises(SystemExit) as caught:
        main(["check", str(tmp_path)])
    assert caught.value.code == 1
    assert "a folder of landscope continual" in capsys.readouterr().err
