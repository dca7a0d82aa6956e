"""The files of landscope: one file for each result, and blocks of rows for trajectories; nothing is pickled."""

from landscope.storage.archive import Archive, load, read_archive, read_heading, save, tensor_names, write_archive
from landscope.storage.folder import ResultFolder
from landscope.storage.rows import RowStore

__all__ = [
    "Archive",
    "ResultFolder",
    "RowStore",
    "load",
    "read_archive",
    "read_heading",
    "save",
    "tensor_names",
    "write_archive",
]
