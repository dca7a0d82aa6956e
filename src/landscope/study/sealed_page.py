"""A page with the SHA-256 of its own text in a comment at its end, so that a damaged one is known."""

from __future__ import annotations

import hashlib
from pathlib import Path

from landscope.errors import StorageError
from landscope.files.atomic import write_text
from landscope.files.checked_json import read_limited

__all__ = ["digest_of_page", "is_whole_page", "write_page_text"]

_BEGIN, _END = "<!-- sha256:", " -->\n"
_LENGTH = len(_BEGIN) + 64 + len(_END)
_MAX_BYTES = 2**30


def write_page_text(path: Path, text: str) -> None:
    """Write a page and its digest, completely or not at all."""
    text = text if text.endswith("\n") else f"{text}\n"
    write_text(path, f"{text}{_BEGIN}{_digest(text)}{_END}")


def is_whole_page(path: Path) -> bool:
    """Whether a page fits the digest at its end."""
    try:
        text = read_limited(path, _MAX_BYTES)
    except StorageError:
        return False
    return text[-_LENGTH:] == f"{_BEGIN}{_digest(text[:-_LENGTH])}{_END}"


def digest_of_page(path: Path) -> str:
    """The digest at the end of a page."""
    return read_limited(path, _MAX_BYTES)[-_LENGTH:].removeprefix(_BEGIN).removesuffix(_END)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
