"""Every damage of a finished study is named, with what is lost and what makes it whole."""

import shutil

import pytest

from landscope.cli import main
from landscope.study.check import check_study


@pytest.fixture(scope="module")
def whole(small_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(small_run.path, folder)
    return folder


def files_of(folder):
    skipped = {".lock", "report.html"}
    return [file for file in sorted(folder.rglob("*")) if file.is_file() and file.name not in skipped]


def test_a_whole_study_is_whole(whole, capsys):
    assert check_study(whole) == []
    with pytest.raises(SystemExit) as caught:
        main(["check", str(whole)])
    assert not caught.value.code
    assert "is whole" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["halved", "emptied", "flipped"])
def test_every_damaged_file_is_named(whole, damage):
    unnamed = []
    for file in files_of(whole):
        content = file.read_bytes()
        flipped = bytearray(content)
        flipped[len(content) // 2] ^= 16
        file.write_bytes({"halved": content[: len(content) // 2], "emptied": b"", "flipped": bytes(flipped)}[damage])
        found = check_study(whole)
        file.write_bytes(content)
        name = str(file.relative_to(whole))
        if not any(name.startswith(one.file) and one.lost and one.remedy for one in found):
            unnamed.append(name)
    assert unnamed == []
    assert check_study(whole) == []


def test_the_command_says_what_to_do(whole, capsys):
    file = whole / "modes.zarr.zip"
    content = file.read_bytes()
    file.write_bytes(b"")
    with pytest.raises(SystemExit) as caught:
        main(["check", str(whole)])
    file.write_bytes(content)
    assert caught.value.code == 1
    assert "modes.zarr.zip" in capsys.readouterr().out
