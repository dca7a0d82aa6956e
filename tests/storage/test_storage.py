import dataclasses
import json
import math
import shutil

import pytest
import torch
import xarray
import zarr

import landscope as ls
from landscope.errors import StorageError
from landscope.files.checked_json import write_checked
from landscope.results import Result
from landscope.storage import ResultFolder
from landscope.storage.archive import read_archive, write_archive


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Everything(Result, kind="test_everything", dims={"matrix": ("row", "column")}):
    """A result with every type of field."""

    matrix: torch.Tensor
    flags: torch.Tensor
    number: float
    count: int
    pair: tuple[float, float]
    words: tuple[str, ...]
    text: str


def everything():
    return Everything(
        matrix=torch.randn(3, 2, dtype=torch.float64),
        flags=torch.tensor([True, False]),
        number=math.nan,
        count=3,
        pair=(0.1, math.inf),
        words=("a", "ü"),
        text="two\nlines",
    )


def test_round_trip_keeps_every_field(tmp_path):
    result = everything()
    loaded = ls.load(ls.save(result, tmp_path / "r.zarr.zip"))
    assert type(loaded) is Everything
    assert torch.equal(loaded.matrix, result.matrix)
    assert loaded.matrix.dtype == torch.float64
    assert torch.equal(loaded.flags, result.flags)
    assert math.isnan(loaded.number)
    assert (loaded.count, loaded.pair, loaded.words, loaded.text) == (3, (0.1, math.inf), ("a", "ü"), "two\nlines")
    assert loaded.provenance == result.provenance


def test_xarray_reads_the_file_and_the_labels(tmp_path):
    result = everything()
    path = ls.save(result, tmp_path / "r.zarr.zip")
    with zarr.storage.ZipStore(path, mode="r") as store:
        data = xarray.open_zarr(store, consolidated=False).load()
    assert data["matrix"].dims == ("row", "column")
    assert result.to_xarray()["matrix"].equals(data["matrix"])


def test_saving_refuses_to_overwrite_unless_asked(tmp_path):
    path = ls.save(everything(), tmp_path / "r.zarr.zip")
    before = path.read_bytes()
    with pytest.raises(StorageError, match="overwrite=True"):
        ls.save(everything(), path)
    assert path.read_bytes() == before
    ls.save(everything(), path, overwrite=True)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = ls.save(everything(), tmp_path / "r.zarr.zip")
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zarr.Group, "create_array", full)
    with pytest.raises(StorageError, match="No space left on device"):
        ls.save(everything(), path, overwrite=True)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.zarr.zip"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="to write"):
        ls.save(everything(), tmp_path / "file" / "r.zarr.zip")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign zip", "text", "folder", "newer", "unknown kind"])
def test_files_that_are_not_sound_are_refused(tmp_path, damage):
    path = ls.save(everything(), tmp_path / "r.zarr.zip")
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        middle = content.index(b"matrix/c/") + 60
        path.write_bytes(
            content[:middle] + bytes(255 - byte for byte in content[middle : middle + 20]) + content[middle + 20 :]
        )
    elif damage == "foreign zip":
        shutil.make_archive(str(tmp_path / "z"), "zip", tmp_path, "r.zarr.zip")
        path = tmp_path / "z.zip"
    elif damage == "text":
        path.write_text("not a zip")
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage == "newer":
        path = tmp_path / "n.zarr.zip"
        with zarr.storage.ZipStore(path, mode="w") as store:
            zarr.create_group(store, attributes={"landscope_format": 99, "kind": "x", "attributes": "{}"})
    else:
        path = tmp_path / "u.zarr.zip"
        write_archive(path, kind="of the future", arrays={}, attributes={"module": "os"})
    with pytest.raises(StorageError) as caught:
        ls.load(path)
    assert "Expected" in str(caught.value)


@pytest.mark.parametrize("content", ['{"a": 1', "[1]", ""])
def test_a_damaged_note_is_refused(tmp_path, content):
    folder = ResultFolder(tmp_path)
    assert folder.read_note("facts") == {}
    (tmp_path / "facts.json").write_text(content)
    with pytest.raises(StorageError, match=r"a whole file at .*facts\.json"):
        folder.read_note("facts")


@pytest.fixture
def reads(monkeypatch):
    """The files that a folder has read."""
    found = []

    def read(path, kind):
        found.append(path.name)
        return ls.load(path, kind)

    monkeypatch.setattr("landscope.storage.folder.load", read)
    return found


def test_a_small_result_is_read_once_and_anew_where_its_file_is_another(tmp_path, reads):
    folder, law = ResultFolder(tmp_path), ls.law.PowerLaw
    x = torch.tensor([1.0, 2.0, 4.0])
    folder.save("law", ls.law.fit_power_law(x, x**2))
    assert folder.load("law", law).exponent == folder.load("law", law).exponent == pytest.approx(2)
    assert reads == ["law.zarr.zip"]
    folder.save("law", ls.law.fit_power_law(x, x**3))
    assert folder.load("law", law).exponent == pytest.approx(3)
    assert len(reads) == 2
    with pytest.raises(StorageError, match="flatness"):
        folder.load("law", ls.landscape.Flatness)
    folder.remove("law")
    with pytest.raises(StorageError, match="no such file"):
        folder.load("law", law)


def test_what_a_caller_changes_in_place_is_not_what_others_read(tmp_path, reads):
    folder = ResultFolder(tmp_path)
    folder.save("modes", ls.directions.random(5, 2, seed=0))
    first, expected = folder.load("modes", ls.directions.Directions), ls.directions.random(5, 2, seed=0).directions
    first.directions.zero_()
    folder.load("modes", ls.directions.Directions).directions.zero_()
    assert torch.equal(folder.load("modes", ls.directions.Directions).directions, expected)
    assert len(reads) == 1


def test_a_large_result_takes_no_memory(tmp_path, reads, monkeypatch):
    monkeypatch.setattr("landscope.storage.folder._KEPT_BYTES", 100)
    folder = ResultFolder(tmp_path)
    folder.save("modes", ls.directions.random(5, 2, seed=0))
    for _ in range(2):
        folder.load("modes", ls.directions.Directions)
    assert len(reads) == 2
    assert not folder._kept


def test_the_wrong_kind_is_refused(tmp_path):
    path = ls.save(everything(), tmp_path / "r.zarr.zip")
    with pytest.raises(StorageError, match="test_everything"):
        ls.load(path, ls.landscape.Flatness)


def test_nothing_is_pickled(tmp_path):
    path = ls.save(everything(), tmp_path / "r.zarr.zip")
    attributes = read_archive(path).attributes
    json.dumps(attributes)
    assert b"pickle" not in path.read_bytes()


@pytest.fixture
def recorded(tmp_path):
    model = torch.nn.Linear(30, 20, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "t"):
        for _ in range(10):
            optimizer.zero_grad()
            model(torch.randn(4, 30)).square().mean().backward()
            optimizer.step()
    return tmp_path / "t"


def block_files(path):
    return list(path.glob("weights-*.npy"))


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing", "no marker", "bad marker", "newer", "no table"])
def test_damaged_trajectories_are_refused(recorded, damage):
    (block,) = block_files(recorded)
    marker = recorded / "committed.json"
    if damage == "flipped":
        content = bytearray(block.read_bytes())
        content[len(content) // 2] ^= 1
        block.write_bytes(content)
    elif damage == "truncated":
        block.write_bytes(block.read_bytes()[:100])
    elif damage == "missing":
        block.unlink()
    elif damage == "no marker":
        marker.unlink()
    elif damage == "bad marker":
        marker.write_text('{"rows": "many"')
    elif damage == "newer":
        write_checked(marker, {"format": 99, "rows": 10, "segments": []})
    else:
        (recorded / "table.json").unlink()
    with pytest.raises((StorageError, ls.errors.NonFiniteError)):
        ls.principal_modes(ls.open_trajectory(recorded))
