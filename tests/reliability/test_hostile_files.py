"""Files made to do harm: each is refused with the house's error, within two seconds and 200 MB."""

import json
import os
import time
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch

import landscope as ls
from landscope.errors import StorageError
from landscope.files.checked_json import read_checked
from landscope.files.plain_yaml import read_yaml, write_yaml
from landscope.files.seal import seal
from landscope.study.folder import StudyFolder

SECONDS, BYTES = 2.0, 200e6
HUGE = 2**43


def law():
    x = torch.tensor([1.0, 2.0, 4.0])
    return ls.law.fit_power_law(x, x**2)


def members_of(result, folder):
    with zipfile.ZipFile(ls.save(result, folder / "good.zarr.zip")) as archive:
        return {one.filename: archive.read(one) for one in archive.infolist()}


def changed_json(members, name, change):
    told = json.loads(members[name])
    change(told)
    return {**members, name: json.dumps(told).encode()}


def at(*keys, value):
    """A change of one value deep in a description."""

    def change(told):
        for key in keys[:-1]:
            told = told[key]
        told[keys[-1]] = value

    return change


def without(*keys):
    def change(told):
        for key in keys[:-1]:
            told = told[key]
        del told[keys[-1]]

    return change


ARRAY, ROOT, PIECE = "directions/zarr.json", "zarr.json", "directions/c/0/0"
CHANGES = {
    "8 TB declared": (ARRAY, at("shape", value=[HUGE, 1])),
    "8 TB in one piece": (ARRAY, lambda told: told.update(shape=[HUGE], chunk_grid=grid([HUGE]))),
    "more dimensions": (ARRAY, lambda told: told.update(shape=[2, 5, 1], chunk_grid=grid([2, 5, 1]))),
    "a negative length": (ARRAY, at("shape", value=[-2, 5])),
    "a length that is no integer": (ARRAY, at("shape", value=[2.5, 4])),
    "a length that is text": (ARRAY, at("shape", value=["2", 5])),
    "a length that is true": (ARRAY, at("shape", value=[True, 5])),
    "a shape that is no list": (ARRAY, at("shape", value=10)),
    "9 pieces of 4 GB": (ARRAY, lambda told: told.update(shape=[3 * 2**15] * 2, chunk_grid=grid([2**15] * 2))),
    "many small pieces": (ARRAY, at("chunk_grid", value={"name": "regular", "configuration": {"chunk_shape": [1, 1]}})),
    "another grid": (ARRAY, at("chunk_grid", value={"name": "rectilinear", "configuration": {}})),
    "no grid": (ARRAY, without("chunk_grid")),
    "a compressed piece": (ARRAY, at("codecs", value=[{"name": "bytes"}, {"name": "zstd"}])),
    "a codec of another program": (ARRAY, at("codecs", value=[{"name": "os.system"}])),
    "no codecs": (ARRAY, at("codecs", value=[])),
    "objects": (ARRAY, at("data_type", value="object")),
    "text of any length": (ARRAY, at("data_type", value="string")),
    "a wide type": (ARRAY, at("data_type", value="complex128")),
    "a narrow type": (ARRAY, at("data_type", value="int8")),
    "a type of a dictionary": (ARRAY, at("data_type", value={"name": "structured"})),
    "no array": (ARRAY, at("node_type", value="group")),
    "zarr 2": (ARRAY, at("zarr_format", value=2)),
    "big-endian numbers": (ARRAY, at("codecs", value=[{"name": "bytes", "configuration": {"endian": "big"}}])),
    "a description that is a list": (ARRAY, None, b"[1]"),
    "a description that is no JSON": (ARRAY, None, b"{"),
    "deep nesting": (ARRAY, None, b"[" * 100_000 + b"]" * 100_000),
    "5,000 digits": (ARRAY, None, b'{"zarr_format": ' + b"3" * 5000 + b"}"),
    "no text": (ARRAY, None, b"\xff\xfe"),
    "another kind": (ROOT, at("attributes", "kind", value="power_law")),
    "a module to import": (ROOT, at("attributes", "kind", value="landscope.__main__")),
    "a kind that is a list": (ROOT, at("attributes", "kind", value=["os"])),
    "no kind": (ROOT, without("attributes", "kind")),
    "no format": (ROOT, without("attributes", "landscope_format")),
    "format true": (ROOT, at("attributes", "landscope_format", value=True)),
    "format 99": (ROOT, at("attributes", "landscope_format", value=99)),
    "format of a text": (ROOT, at("attributes", "landscope_format", value="2")),
    "fields that are no JSON": (ROOT, at("attributes", "attributes", value="{")),
    "fields that are a list": (ROOT, at("attributes", "attributes", value="[1]")),
    "deep fields": (ROOT, at("attributes", "attributes", value="[" * 100_000 + "]" * 100_000)),
    "fields that are missing": (ROOT, at("attributes", "attributes", value="{}")),
    "a field of another type": (ROOT, lambda told: rewrite_field(told, "n_steps", "many")),
    "a field that is true": (ROOT, lambda told: rewrite_field(told, "n_steps", True)),
    "a field that is a list": (ROOT, lambda told: rewrite_field(told, "name", ["a"])),
    "a field that no kind has": (ROOT, lambda told: rewrite_field(told, "__class__", "x")),
    "a description without attributes": (ROOT, without("attributes")),
    "a root that is an array": (ROOT, at("node_type", value="array")),
    "a short piece": (PIECE, None, b"\0" * 8),
    "a long piece": (PIECE, None, b"\0" * 800),
    "a member outside": ("../../outside", None, b"x"),
    "a member of no array": ("more/c/0", None, b"x" * 8),
}


def grid(shape):
    return {"name": "regular", "configuration": {"chunk_shape": shape}}


def rewrite_field(told, name, value):
    fields = json.loads(told["attributes"]["attributes"])
    told["attributes"]["attributes"] = json.dumps({**fields, name: value})


def refused(read, *arguments):
    """Call a reader; it must raise the house's error in time and within memory."""
    tracemalloc.start()
    begun = time.perf_counter()
    try:
        with pytest.raises(StorageError) as caught:
            read(*arguments)
        seconds, (_, peak) = time.perf_counter() - begun, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seconds < SECONDS
    assert peak < BYTES
    assert len(str(caught.value)) < 2000


def written(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    seal(path)
    return path


@pytest.mark.parametrize("name", CHANGES)
def test_archives_made_to_do_harm(tmp_path, name):
    member, change, *content = CHANGES[name]
    members = members_of(ls.directions.random(5, 2, seed=0), tmp_path)
    changed = {**members, member: content[0]} if change is None else changed_json(members, member, change)
    refused(ls.load, written(tmp_path / "bad.zarr.zip", changed))


@pytest.mark.parametrize("name", ["a piece that inflates to 320 MB", "metadata that inflate", "twice the same member"])
def test_zip_files_made_to_do_harm(tmp_path, name):
    members, path = members_of(ls.directions.random(5, 2, seed=0), tmp_path), tmp_path / "bad.zarr.zip"
    if name == "twice the same member":
        with zipfile.ZipFile(path, "w") as archive:
            for member in members:
                archive.writestr(member, members[member])
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.writestr(ROOT, members[ROOT])
    else:
        member = PIECE if "piece" in name else ROOT
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for other, content in members.items():
                if other != member:
                    archive.writestr(other, content)
            with archive.open(member, "w", force_zip64=True) as file:
                block = b" " * 2**24
                for _ in range(20):
                    file.write(block)
    if path.exists() and name != "twice the same member":
        assert path.stat().st_size < 5e6
    seal(path)
    refused(ls.load, path)


def test_an_unsealed_file_is_refused_whatever_it_holds(tmp_path):
    members = members_of(law(), tmp_path)
    path = tmp_path / "bad.zarr.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    refused(ls.load, path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_pipes_and_devices_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.zarr.zip")
    refused(ls.load, tmp_path / "pipe.zarr.zip")
    refused(read_checked, tmp_path / "pipe.zarr.zip")
    refused(read_yaml, tmp_path / "pipe.zarr.zip", "settings")
    refused(ls.load, "/dev/zero")
    refused(read_yaml, Path("/dev/zero"), "settings")


def settings(**changed):
    lines = {"format": "3", "landscope": "0", "torch": "0", "settings": "{}"} | changed
    return "\n".join(f"{name}: {value}" for name, value in lines.items())


YAML = {
    "aliases": "a: &a [x, x]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n" + settings(),
    "deep nesting": settings(settings="[" * 5000 + "]" * 5000),
    "little nesting that never ends": settings(settings="[" * 30),
    "5,000 digits": settings(format="9" * 5000),
    "integer keys": settings(settings="{1: 2}"),
    "the same key twice": settings(settings="{seed: 1, seed: 2}"),
    "batch_size: true": settings(settings="{batch_size: true}"),
    "seed: true": settings(settings="{seed: true}"),
    "an object of Python": settings(settings="!!python/object/apply:os.system ['true']"),
    "a merge": "base: &a {x: 1}\n" + settings(settings="{<<: *a}"),
    "a date in place of a number": settings(settings="{seed: 2020-01-01}"),
    "an infinite number": settings(settings="{ratio: .inf}"),
    "a number that is no number": settings(settings="{ratio: .nan}"),
    "a text in place of settings": settings(settings="nothing"),
    "no settings": "format: 3",
    "an unknown setting": settings(settings="{windows: 3}"),
    "a format that is true": settings(format="true"),
    "no mapping": "[1, 2]",
    "nothing": "",
    "two documents": settings() + "\n---\na: 1",
    "a tab": "format:\t3\n\tsettings: {}",
    "2 MB": settings(settings="{seed: 1}") + "\n# " + "x" * 2**21,
}


@pytest.mark.parametrize("name", YAML)
def test_settings_made_to_do_harm(tmp_path, name):
    (tmp_path / "study.yaml").write_text(YAML[name])
    refused(opened, tmp_path)


def opened(folder):
    """Open a study whose settings have the checksum that their writer would give them."""
    file = folder / "study.yaml"
    write_yaml(file, read_yaml(file, "settings", has_crc=False))
    return StudyFolder.open(folder)


def test_settings_without_harm_are_read(tmp_path):
    (tmp_path / "study.yaml").write_text(settings(settings="{seed: 3}"))
    assert opened(tmp_path).settings.seed == 3
