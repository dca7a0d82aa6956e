"""Two texts that come with Python, byte by byte: what a small language model can learn without a download."""

from __future__ import annotations

import importlib
import inspect

import torch
from jaxtyping import Int
from torch import Tensor

from landscope._checks import check_count
from landscope.errors import InputError

__all__ = ["byte_sequences", "python_texts"]

_SOURCES = ("argparse", "ast", "inspect", "logging", "typing")


def python_texts() -> dict[str, bytes]:
    """Python's own handbook in English, and the source code of some of its modules, some 450,000 bytes each.

    Example:
        >>> [len(text) > 300_000 for text in python_texts().values()]
        [True, True]
    """
    topics = importlib.import_module("pydoc_data.topics").topics
    code = "\n".join(inspect.getsource(importlib.import_module(name)) for name in _SOURCES)
    return {"english": "\n".join(topics.values()).encode(), "code": code.encode()}


def byte_sequences(text: bytes, length: int) -> tuple[Int[Tensor, "M t"], Int[Tensor, "m t"]]:
    """A text cut into rows, the last tenth of them kept for testing.

    Args:
        text: The text.
        length: Bytes of a row; a shorter rest is dropped.

    Raises:
        InputError: If the text has not ten rows.

    Example:
        >>> train, test = byte_sequences(b"abcdefghij" * 2, 2)
        >>> train.shape, test.tolist()
        (torch.Size([9, 2]), [[105, 106]])
    """
    check_count("length", length, minimum=2)
    count = len(text) // length
    if count < 10:
        raise InputError(
            expected=f"a text of {10 * length} bytes or more", got=f"{len(text)}", hint="Shorten the rows."
        )
    rows = torch.tensor(list(text[: count * length]), dtype=torch.int64).view(count, length)
    first = count - max(1, int(0.1 * count))
    return rows[:first], rows[first:]
