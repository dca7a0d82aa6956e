import contextlib
import io
import json

import numpy as np
import pytest

from landscope.errors import StorageError
from landscope.files.checked_json import read_checked, write_checked
from landscope.storage import RowStore
from landscope.storage.segments import Segment
from power_cut import ForgetfulDisk

WIDE = 2**18 + 7
"""Wide enough for two parts with a checksum each."""


def columns(width):
    return {"weights": ((width,), np.dtype("f4")), "steps": ((), np.dtype("i8"))}


def rows(first, last, width=3):
    steps = np.arange(first, last)
    return {"weights": (steps[:, None] + np.linspace(0, 0.5, width)).astype("f4"), "steps": steps}


def table(path, *counts, width=3, rows_per_block=4):
    store = RowStore.create(path, columns(width), rows_per_block=rows_per_block, attributes={"names": ["a"]})
    for count in counts:
        store.append(**rows(store.rows, store.rows + count, width))
    return store


def check(store, count, width=3):
    assert store.rows == count
    expected = rows(0, count, width)
    for name in ("weights", "steps"):
        assert np.array_equal(store.read(name, 0, count), expected[name])
        assert store.read(name, 0, count).flags.writeable


@pytest.mark.parametrize("counts", [(10,), (1, 1, 1, 1, 1), (3, 4, 3), (4, 4), (9, 2)])
def test_rows_come_back_however_they_were_added(tmp_path, counts):
    store = table(tmp_path / "t", *counts)
    check(store, sum(counts))
    check(RowStore.open(tmp_path / "t"), sum(counts))
    store.sync()
    check(RowStore.open(tmp_path / "t"), sum(counts))
    # Blocks of four rows, one file a column, and nothing else.
    assert len(list((tmp_path / "t").glob("weights-*.npy"))) == -(-sum(counts) // 4)


def test_part_of_wide_rows(tmp_path):
    store, expected = table(tmp_path / "t", 3, width=WIDE), rows(0, 3, WIDE)["weights"]
    for part in (slice(0, 5), slice(2**18 - 2, 2**18 + 3), slice(WIDE - 1, WIDE), slice(4, 4), slice(None)):
        assert np.array_equal(store.read("weights", 1, 3, part), expected[1:3, part])


def test_rows_after_a_cut_replace_those_that_were_cut_off(tmp_path):
    store = table(tmp_path / "t", 10)
    store.truncate(6)
    check(RowStore.open(tmp_path / "t"), 6)
    store.append(**rows(6, 13))
    check(RowStore.open(tmp_path / "t"), 13)
    store.truncate(0)
    check(RowStore.open(tmp_path / "t"), 0)
    with pytest.raises(StorageError, match="at least 1 rows"):
        store.truncate(1)


def test_rows_after_the_last_flush_that_were_cut_off_stay_away(tmp_path):
    store = table(tmp_path / "t", 8)
    store.sync()
    store.append(**rows(8, 11))
    store.truncate(8)
    check(RowStore.open(tmp_path / "t"), 8)


def test_many_small_blocks_cost_no_more_each_than_few(tmp_path, monkeypatch):
    """What is written beside a block does not grow with the number of blocks: rows of large models fill one each."""
    monkeypatch.setattr("landscope.storage.rows._MOST_UNFLUSHED", 8)
    store = table(tmp_path / "t", rows_per_block=1)
    largest = 0
    for step in range(30):
        store.append(**rows(step, step + 1))
        latest = tmp_path / "t" / "latest.json"
        largest = max(largest, len(read_checked(latest)["segments"]) if latest.exists() else 0)
    assert largest < 8
    assert len(read_checked(tmp_path / "t" / "committed.json")["segments"]) == 24
    check(RowStore.open(tmp_path / "t"), 30)


def test_a_reader_follows_rows_that_moved_into_a_longer_block(tmp_path):
    store = table(tmp_path / "t", 2)
    store.sync()
    reader = RowStore.open(tmp_path / "t")
    store.append(**rows(2, 4))
    store.sync()
    check(reader, 2)


def damaged(file, kind):
    content = bytearray(file.read_bytes())
    if kind == "deleted":
        file.unlink()
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "halved":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[int(kind * (len(content) - 1))] ^= 4
        file.write_bytes(content)


def equal_but_for_the_header(file, content):
    """Whether NumPy reads the same array from a file as from the content that it had."""
    try:
        return np.array_equal(np.load(file), np.load(io.BytesIO(content)))
    except (ValueError, SyntaxError, EOFError):
        return False


@pytest.mark.parametrize("kind", ["deleted", "empty", "halved", 0.0, 0.3, 0.6, 1.0])
def test_every_damaged_file_is_named_and_no_wrong_row_is_read(tmp_path, kind):
    store = table(tmp_path / "t", 10)
    store.sync()
    files = sorted(file for file in (tmp_path / "t").iterdir() if file.is_file())
    assert len(files) == 8  # two markers, and three blocks of two columns
    for file in files:
        content = file.read_bytes()
        damaged(file, kind)
        # A flipped bit in the spare space of a header changes nothing, and nothing is refused.
        harmless = file.suffix == ".npy" and isinstance(kind, float) and equal_but_for_the_header(file, content)
        with contextlib.nullcontext() if harmless else pytest.raises(StorageError, match=str(tmp_path)):
            check(RowStore.open(tmp_path / "t"), 10)
        file.write_bytes(content)


def test_a_block_of_another_place_is_refused(tmp_path):
    table(tmp_path / "t", 8).sync()
    first, second = sorted((tmp_path / "t").glob("weights-*.npy"))
    second.write_bytes(first.read_bytes())
    store = RowStore.open(tmp_path / "t")
    assert np.array_equal(store.read("weights", 0, 4), rows(0, 4)["weights"])
    with pytest.raises(StorageError, match="checksum"):
        store.read("weights", 3, 5)
    ((start, stop, _),) = store.check()
    assert (start, stop) == (4, 8)


@pytest.mark.parametrize("told", [{"rows": -5}, {"rows": 1e400}, {"rows": "8"}, {"rows": 9}, {"segments": 3}])
def test_markers_that_make_no_sense_are_refused(tmp_path, told):
    table(tmp_path / "t", 8).sync()
    file = tmp_path / "t" / "committed.json"
    write_checked(file, {**read_checked(file), **told})
    with pytest.raises(StorageError, match="rows in"):
        RowStore.open(tmp_path / "t")
    file.write_text(json.dumps({"format": 2, "rows": 8}))
    with pytest.raises(StorageError, match=r"committed\.json"):
        RowStore.open(tmp_path / "t")


def test_changed_names_are_refused(tmp_path):
    table(tmp_path / "t", 8).sync()
    file = tmp_path / "t" / "table.json"
    file.write_text(file.read_text().replace('"a"', '"b"'))
    with pytest.raises(StorageError, match="checksum"):
        RowStore.open(tmp_path / "t")


@pytest.mark.parametrize("name", ["table.json", "committed.json", "latest.json"])
def test_a_file_of_another_table_with_the_same_columns_is_refused(tmp_path, name):
    """The same rows were written at the same time; nothing but the table that the markers name tells them apart."""
    for folder in ("t", "other"):
        store = table(tmp_path / folder, 8)
        store.sync()
        store.append(**rows(8, 10))
    check(RowStore.open(tmp_path / "t"), 10)
    (tmp_path / "t" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(
        StorageError, match=r"table\.json and (committed|latest)\.json of one recording.*got those of two"
    ):
        RowStore.open(tmp_path / "t")


def test_a_writer_that_opens_again_removes_what_a_killed_one_left(tmp_path):
    table(tmp_path / "t", 5)
    (tmp_path / "t" / "weights-000009a.npy").write_bytes(b"half")
    (tmp_path / "t" / ".latest.json.0.partial").write_text("half")
    check(RowStore.open(tmp_path / "t"), 5)
    check(RowStore.open(tmp_path / "t", writable=True), 5)
    assert not (tmp_path / "t" / "weights-000009a.npy").exists()
    assert not list((tmp_path / "t").glob(".*"))


def test_a_power_cut_at_any_moment_leaves_the_rows_that_were_flushed(tmp_path, monkeypatch):
    disk = ForgetfulDisk(tmp_path / "here", monkeypatch)
    (tmp_path / "here").mkdir()
    store, flushed = table(tmp_path / "here" / "t"), {}
    for count in (3, 2, 6, 1):
        store.append(**rows(store.rows, store.rows + count))
        if count != 2:
            store.sync()
            flushed[len(disk.moments)] = store.rows
    store.truncate(9)
    flushed[len(disk.moments)] = 9
    assert len(disk.moments) > 30
    opened = 0
    for number, moment in enumerate(disk.moments):
        disk.restore(moment, tmp_path / "there")
        if not (tmp_path / "there" / "t").exists():
            continue  # before the name of the folder was flushed there is nothing
        found = RowStore.open(tmp_path / "there" / "t", writable=True)
        before = [count for last, count in flushed.items() if last <= number]
        assert found.rows >= (before[-1] if before else 0) or found.rows == 9
        check(found, found.rows)
        opened += 1
    assert opened > 20


def test_a_reader_follows_rows_that_move_again_while_it_reads(tmp_path, monkeypatch):
    writer = table(tmp_path / "rows", 1, rows_per_block=64)
    reader, opened, left = RowStore.open(tmp_path / "rows"), Segment._open, [1, 2, 3]

    def moved(segment, folder, name, column):
        stored = opened(segment, folder, name, column)
        if left:  # the file goes between its opening and its check
            writer.append(**rows(writer.rows, writer.rows + left.pop()))
        return stored

    monkeypatch.setattr(Segment, "_open", moved)
    found = reader.read("weights", 0, 1)
    assert not left
    assert np.array_equal(found, rows(0, 1)["weights"])


def test_an_opening_between_the_two_markers_of_a_flush_misses_no_row(tmp_path, monkeypatch):
    writer = table(tmp_path / "rows", 4, 4, 4)
    read, done = read_checked, []

    def flushed_in_between(file):
        if file.name == "latest.json" and not done:
            done.append(file)
            writer.sync()
            writer.append(**rows(12, 16))
        return read(file)

    monkeypatch.setattr("landscope.storage.rows.read_checked", flushed_in_between)
    check(RowStore.open(tmp_path / "rows"), 16)
    assert done
