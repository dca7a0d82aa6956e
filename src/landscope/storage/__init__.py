"""The files of landscope: one file for each result, and blocks of rows for trajectories; nothing is pickled."""

from landscope.storage.archive import load, read_archive, save, write_archive
from landscope.storage.atomic import replaced_atomically, write_json, write_text
from landscope.storage.folder import ResultFolder
from landscope.storage.rows import RowStore

__all__ = [
    "ResultFolder",
    "RowStore",
    "load",
    "read_archive",
    "replaced_atomically",
    "save",
    "write_archive",
    "write_json",
    "write_text",
]
