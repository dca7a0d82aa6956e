"""Folders that hold one checkpoint: in one file or in several, distributed, or adapters alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from landscope.errors import StorageError
from landscope.trajectory.distributed import METADATA, read_distributed, read_value

__all__ = ["checkpoint_in", "is_adapter_file", "is_part", "kept_in", "read_folder"]

_INDEX = ".index.json"
_ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
_WHOLE = (
    "model.safetensors", f"model.safetensors{_INDEX}", "pytorch_model.bin", f"pytorch_model.bin{_INDEX}",
    "pytorch_model_fsdp.bin", METADATA, f"pytorch_model_fsdp_0/{METADATA}",
)  # fmt: skip
"""What a folder holds that holds a whole model: of Hugging Face, of accelerate, of torch.distributed.checkpoint."""
_PART = re.compile(r"^(.*-)(\d{5})-of-(\d{5})(\.[a-z]+)$")
"""Names of one file of several."""
_DEEPSPEED = "zero_to_fp32.py"


def checkpoint_in(folder: Path) -> Path | None:
    """The file of a folder that holds the checkpoint, or the index of it; None where the folder is no checkpoint.

    The whole model comes before adapters. Of several files without an index it is the first.

    Args:
        folder: The folder.
    """
    names = [name for name in (*_WHOLE, *_ADAPTERS) if (folder / name).is_file()]
    if names:
        return folder / names[0]
    indices = sorted(folder.glob(f"*{_INDEX}"))
    if len(indices) == 1:
        return indices[0]
    parts = sorted(entry for entry in folder.iterdir() if entry.is_file() and is_part(entry))
    return parts[0] if parts else None


def is_part(file: Path) -> bool:
    """Whether a file is one of several that hold one model."""
    return bool(_PART.match(file.name))


def is_adapter_file(source: Any) -> bool:
    """Whether a source is a folder or a file of adapters without their model."""
    if not isinstance(source, str | Path):
        return False
    path = Path(source)
    file = checkpoint_in(path) if path.is_dir() else path
    return file is not None and file.name in _ADAPTERS


def read_folder(path: Path, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """The tensors of a folder that holds one checkpoint, or of an index, by name.

    Args:
        path: The folder, or the index in it.
        read: Reads one file.

    Raises:
        StorageError: If the folder holds no checkpoint, or only a part of one.
    """
    file = checkpoint_in(path) if path.is_dir() else path
    if file is None:
        raise StorageError(
            expected=f"{' or '.join(_WHOLE[:4])} in {path}",
            got=", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "an empty folder",
            hint=f"Run {_DEEPSPEED} in the folder: it writes pytorch_model.bin."
            if (path / _DEEPSPEED).is_file()
            else "Save the whole model with model.save_pretrained(folder).",
        )
    if file.name == METADATA:
        return read_distributed(file.parent)
    if file.name.endswith(_INDEX):
        return _of_index(file, read)
    return _of_parts(file, read) if is_part(file) else read(file)


def _of_index(index: Path, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    try:
        files = {
            str(name): str(file) for name, file in json.loads(index.read_text(encoding="utf-8"))["weight_map"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            expected=f"an index of weights in {index}", got=f"{type(error).__name__}: {error}", hint="Save it again."
        ) from error
    state = _joined(index.parent, sorted(set(files.values())), read)
    missing = [name for name in files if name not in state]
    if missing:
        raise StorageError(
            expected=f"all tensors of {index}", got=f"files without {', '.join(missing[:4])}", hint="Save it again."
        )
    return state


def _of_parts(part: Path, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    found = _PART.match(part.name)
    assert found is not None  # noqa: S101 - the caller has seen it
    stem, _, count, suffix = found.groups()
    alike = [(file, _PART.match(file.name)) for file in sorted(part.parent.iterdir())]
    others = {match[2]: file.name for file, match in alike if match and match.group(1, 3, 4) == (stem, count, suffix)}
    if len(others) != int(count):
        raise StorageError(
            expected=f"all {int(count)} files of the model in {part.parent}", got=f"{len(others)}",
            hint="Copy the missing files there, and the index beside them.",
        )  # fmt: skip
    return _joined(part.parent, list(others.values()), read)


def _joined(folder: Path, names: list[str], read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
    if missing:
        raise StorageError(
            expected=f"all {len(names)} files of the model in {folder}", got=f"no {', '.join(missing)}",
            hint="Copy the missing files there.",
        )  # fmt: skip
    state: dict[str, Any] = {}
    for name in names:
        part = read(folder / name)
        if twice := sorted(state.keys() & part.keys()):
            raise StorageError(
                expected=f"each tensor in one of the {len(names)} files of the model in {folder}",
                got=f"{twice[0]} in several",
                hint="Pass whole models one by one: {step: path}.",
            )
        state |= part
    return state


def kept_in(folder: Path) -> dict[str, Any]:
    """What a folder says of its training: ``trainer_state.json``, or the values beside distributed weights."""
    if (folder / METADATA).is_file():
        return {"step": read_value(folder, ("global_step", "step"))}
    state = folder / "trainer_state.json"
    return json.loads(state.read_text(encoding="utf-8")) if state.is_file() else {}
