"""Reads every kind of file of a study, and says whether a reading is the one that was written."""

import torch

from landscope.errors import LandscopeError
from landscope.files.checked_json import read_checked
from landscope.files.plain_yaml import read_yaml
from landscope.storage import read_archive
from landscope.storage.archive import read_heading
from landscope.study.sealed_page import digest_of_page, is_whole_page
from landscope.trajectory import open_trajectory


def reading(folder, file):
    """Everything that the library reads of a file."""
    if file.parent.name == "trajectory":
        rows = open_trajectory(file.parent)
        return [rows.steps, rows.weights, rows.learning_rate, rows.loss, rows.space.names, rows.space.shapes]
    if file.suffix == ".zip":
        archive = read_archive(file)
        content = [archive.kind, sorted(archive.arrays.items()), archive.attributes, archive.identity, archive.digest]
        return [*content, read_heading(file).digest]
    if file.suffix == ".json":
        return [read_checked(file)]
    if file.suffix == ".yaml":
        return [read_yaml(file, "settings")]
    assert file.suffix == ".html", file
    return [digest_of_page(file)] if is_whole_page(file) else refuse(file)


def refuse(file):
    raise LandscopeError(expected=f"a whole page at {file}", got="another", hint="Write it again.")


def is_same(one, other):
    if isinstance(one, torch.Tensor):
        equal = isinstance(other, torch.Tensor) and one.shape == other.shape and one.dtype == other.dtype
        return equal and torch.equal(one.nan_to_num(-1.0), other.nan_to_num(-1.0))
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(is_same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


def flipped(folder, flips):
    """What became of single-bit flips: how many were refused, read the same, read wrongly, or gave raw errors."""
    found, good = {"refused": 0, "same": 0, "wrong": [], "raw": []}, {}
    for file, place, bit in flips:
        if file not in good:
            good[file] = reading(folder, file)
        with file.open("r+b") as stream:
            change(stream, place, bit)
            stream.flush()
            try:
                same = is_same(reading(folder, file), good[file])
                if same:
                    found["same"] += 1
                else:
                    found["wrong"].append((file.name, place, bit))
            except LandscopeError:
                found["refused"] += 1
            except Exception as error:  # noqa: BLE001 - that is what is looked for
                found["raw"].append((file.name, place, bit, type(error).__name__))
            change(stream, place, bit)
    return found


def change(stream, place, bit):
    stream.seek(place)
    (byte,) = stream.read(1)
    stream.seek(place)
    stream.write(bytes([byte ^ (1 << bit)]))
