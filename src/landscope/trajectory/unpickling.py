"""Files of torch.save read without running code in them, whatever objects lie beside the weights."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

__all__ = ["Inert", "load_without_code"]


class Inert:
    """What stands in for an object of a file that is no tensor and no plain value: it takes everything, does nothing.

    Trainers keep paths, hyperparameters and callbacks beside the weights. The names in the file are not looked up.
    """

    def __new__(cls, *_: Any, **__: Any) -> Inert:  # noqa: D102
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _InertMapping:
    """The same for a mapping of a class of its own, where torch takes items for plain dictionaries alone."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return {}


def load_without_code(path: Path, *, mmap: bool = False) -> Any:
    """The content of a file of ``torch.save``, with every object that could run code replaced by an empty one.

    Args:
        path: The file.
        mmap: Whether tensors stay on disk until they are used.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError:
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        if not unknown:
            raise
    try:
        return _load_with(Inert, unknown, path, mmap)
    except pickle.UnpicklingError:
        return _load_with(_InertMapping, unknown, path, mmap)


def _load_with(stand_in: type, names: list[str], path: Path, mmap: bool) -> Any:
    with torch.serialization.safe_globals([(stand_in, name) for name in names]):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
