"""Single files: written whole or not at all, with a checksum, and read within limits. Nothing here needs torch."""

from landscope.files.atomic import replaced_atomically, write_json, write_text
from landscope.files.checked_json import read_checked, write_checked
from landscope.files.plain_yaml import read_yaml, write_yaml

__all__ = [
    "read_checked",
    "read_yaml",
    "replaced_atomically",
    "write_checked",
    "write_json",
    "write_text",
    "write_yaml",
]
