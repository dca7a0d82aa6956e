"""Where directions are kept: in memory, or in a file that is read like memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from landscope._checks import check_path
from landscope.errors import InputError, StorageError
from landscope.processes import n_processes
from landscope.resources import free_disk, free_memory, size_in_words

__all__ = ["check_file", "check_room", "room_for"]


def check_file(path: Any) -> Path:
    """Return a path of a file that is not there yet.

    Raises:
        InputError: If it is no path, or does not end in ``.npy``.
        StorageError: If there is a file.
    """
    path = check_path("path", path)
    if path.suffix != ".npy":
        raise InputError(expected="a path that ends in .npy", got=str(path), hint='Pass, for example, "modes.npy".')
    if path.exists():
        raise _is_there(path)
    return path


def check_room(count: int, dim: int, products: int, path: Path | None) -> None:
    """Raise where directions and the products of rows take more than there is; nothing was computed yet.

    Args:
        count: Number of directions.
        dim: Weights of each.
        products: Bytes of the eigenvalue problem, which is in memory.
        path: File of the directions; None where they are in memory.
    """
    free, needed = free_memory() - products if path is None else free_disk(path), 8 * count * dim
    if needed <= free:
        return
    fitting = max(0, free // (8 * dim))
    hint = f"Ask for n_modes={fitting} or fewer" if fitting else "Thin the rows with .thin(every)"
    elsewhere = ', keep them in a file with path="modes.npy"' if path is None and fitting < count else ""
    raise InputError(
        expected=f"modes that fit into the free {'memory' if path is None else 'room on the disk'}, "
        f"{size_in_words(max(0, free))}",
        got=f"{count} modes of {dim} weights, {size_in_words(needed)}",
        hint=f"{hint}{elsewhere}, or take fewer weights with .of_parameters(...).",
    )


def room_for(count: int, dim: int, path: Path | None) -> Float[Tensor, "k N"]:
    """Zeros for directions, in memory or in a file that the system brings into memory where it is read."""
    if path is None:
        return torch.zeros(count, dim, dtype=torch.float64)
    try:
        path.touch(exist_ok=False)  # of processes that come together one makes it
    except FileExistsError as error:
        raise _is_there(path) from error
    return torch.from_numpy(np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(count, dim)))


def _is_there(path: Path) -> StorageError:
    several = n_processes() > 1
    hint = "Give each process a file of its own, as with the rank in its name" if several else "Choose another"
    return StorageError(expected="a new file", got=f"{path}, which is there", hint=f"{hint}, or delete it.")
