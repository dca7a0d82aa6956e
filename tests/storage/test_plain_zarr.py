"""A group is, member by member, the one that zarr writes, and zarr reads it."""

import warnings
import zipfile

import numpy as np
import pytest
import zarr

from landscope.storage.plain_zarr import read_group, write_group

NUMBERS = (
    "bool", "int8", "uint8", "int16", "uint16", "float16", "int32", "uint32", "float32", "int64", "uint64", "float64",
    "complex64", "complex128",
)  # fmt: skip
ATTRIBUTES = {"landscope_format": 2, "kind": "σ", "attributes": '{"a": [1, 2]}'}


def arrays():
    rng = np.random.default_rng(0)
    signed = (9 * rng.standard_normal((2, 3))).round()
    of_kinds = {name: (("x", "y"), (abs(signed) if name.startswith("u") else signed).astype(name)) for name in NUMBERS}
    others = {
        "scalar": ((), np.array(2.5)), "empty": (("x", "y"), np.zeros((0, 3), np.float32)), "one": (("x",), np.ones(1)),
        "special": (("x",), np.array([np.nan, np.inf, -np.inf, -0.0])), "zeros": (("x",), np.zeros(4)),
        "transposed": (("x", "y"), np.arange(6.0).reshape(2, 3).T), "big-endian": (("x",), np.arange(3, dtype=">f8")),
    }  # fmt: skip
    return {**of_kinds, **others}


def by_zarr(path):
    with zarr.storage.ZipStore(path, mode="w") as store, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = zarr.create_group(store, attributes=ATTRIBUTES)
        for name, (dims, values) in arrays().items():
            array = root.create_array(
                name, shape=values.shape, chunks=tuple(max(1, length) for length in values.shape), compressors=None,
                dtype=values.dtype.newbyteorder("="), dimension_names=list(dims), config={"write_empty_chunks": True},
            )  # fmt: skip
            array[...] = values


@pytest.fixture
def path(tmp_path):
    write_group(tmp_path / "own.zip", ATTRIBUTES, arrays())
    return tmp_path / "own.zip"


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {one.filename: archive.read(one) for one in archive.infolist()}


def test_every_member_has_the_bytes_that_zarr_writes(path, tmp_path):
    by_zarr(tmp_path / "zarr.zip")
    own, theirs = members(path), members(tmp_path / "zarr.zip")
    assert own.keys() == theirs.keys()
    assert [name for name in own if own[name] != theirs[name]] == []


def test_what_is_read_is_what_was_written(path):
    attributes, read = read_group(path)
    assert attributes == ATTRIBUTES
    with zarr.storage.ZipStore(path, mode="r") as store:
        root = zarr.open_group(store, mode="r")
        for name, (_, values) in arrays().items():
            assert read[name].dtype == values.dtype.newbyteorder("=")
            assert read[name].flags.writeable
            np.testing.assert_array_equal(read[name], values)
            np.testing.assert_array_equal(root[name][...], values)
    assert read.keys() == arrays().keys()
