"""Files of checkpoints: which there are, at which step each was saved, and the tensors that they hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from landscope._checks import check_count
from landscope.errors import InputError, StorageError
from landscope.trajectory.checkpoint_folders import checkpoint_in, kept_in, read_folder
from landscope.trajectory.unpickling import load_without_code
from landscope.wording import error_text

__all__ = ["Source", "find_checkpoints", "read_checkpoint"]

Source = str | Path | Mapping[str, Any]
"""A checkpoint: its file or folder, or a state dict."""

_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
_NO_MODEL = re.compile(
    r"^(optimizer|scheduler|scaler|sampler|dl_state_dict|custom_checkpoint|rng_state|training_args|trainer|random_states)",
    re.I,
)
_REPEATED = re.compile(r"^(last|latest)\W", re.I)
"""Names of copies of the newest checkpoint."""
_NESTED = ("state_dict", "model_state_dict", "model", "module")
"""Where trainers put the weights inside a file."""
_OF_STEPS = re.compile(r"(?:step|iter|iteration|checkpoint|ckpt|update)s?[=_-]?(\d+)", re.I)
_OF_EPOCHS = re.compile(r"(?:^|[^a-z])ep(?:och)?s?[=_-]?(\d+)", re.I)


def find_checkpoints(
    source: Source | Iterable[Any] | Mapping[int, Any],
    steps: Sequence[int] | None = None,
    steps_per_epoch: int | None = None,
) -> dict[int, Any]:
    """The checkpoints of a folder or a list by the optimiser step at which they were saved, rising.

    The step is the one given; otherwise that in the checkpoint (``global_step`` or ``step``, or ``trainer_state.json``
    of a folder); otherwise that in the name: the number after "step", "iter" or "checkpoint", or the only number that
    differs between the names. A number of epochs is no step: it counts times ``steps_per_epoch``.

    Args:
        source: A folder; files, folders or state dicts in order; or ``{step: checkpoint}``.
        steps: Step of each checkpoint of a list.
        steps_per_epoch: Optimiser steps in an epoch, where names count epochs.

    Raises:
        InputError: If nothing is found, a step is not known, or two checkpoints have the same one.
        StorageError: If a path does not exist or cannot be read.
    """
    if steps_per_epoch is not None:
        check_count("steps_per_epoch", steps_per_epoch)
    if isinstance(source, Mapping) and not any(isinstance(value, Tensor) for value in source.values()):
        by_number: Mapping[Any, Any] = source
        found = list(by_number.items())
    else:
        listed = _listed(source)
        found = list(zip(_steps_of(listed, steps, steps_per_epoch), listed, strict=True))
    if not found:
        raise InputError(
            expected="at least one checkpoint", got="none", hint="Pass a folder, a list of files or {step: state dict}."
        )
    for step, _ in found:
        check_count("the step of a checkpoint", step, minimum=0, hint="Pass {step: state dict or path}.")
    by_step: dict[int, Any] = {}
    for step, checkpoint in sorted(found, key=lambda pair: pair[0]):
        if step in by_step:
            raise InputError(
                expected="one checkpoint for each step",
                got=f"two at step {step}: {_named(by_step[step])} and {_named(checkpoint)}",
                hint="Pass a list of one of each, or {step: path}.",
            )
        by_step[step] = checkpoint
    return by_step


def _named(checkpoint: Any) -> str:
    return Path(checkpoint).name if isinstance(checkpoint, str | Path) else f"a {type(checkpoint).__name__}"


def _listed(source: Any) -> list[Any]:
    """The checkpoints of a folder, or those given."""
    if not isinstance(source, str | Path):
        if isinstance(source, Mapping) or not isinstance(source, Iterable):
            raise InputError(
                expected="a folder, a list of checkpoints, or {step: checkpoint}",
                got="a state dict" if isinstance(source, Mapping) else type(source).__name__,
                hint="Pass {step: state dict} for one state dict.",
            )
        return list(source)
    path = Path(source)
    if not path.exists():
        raise StorageError(expected=f"a folder of checkpoints at {path}", got="nothing", hint="Check the path.")
    if not path.is_dir():
        return [path]
    entries = sorted(path.iterdir(), key=lambda entry: _natural(entry.name))
    folders = [entry for entry in entries if entry.is_dir() and checkpoint_in(entry)]
    files = [entry for entry in entries if entry.is_file() and entry.suffix in _SUFFIXES]
    files = [entry for entry in files if not _NO_MODEL.match(entry.name)]
    files = [entry for entry in files if not _REPEATED.match(entry.name)] or files
    # Trainers put the final model beside the folders of its steps.
    found = folders or ([path] if checkpoint_in(path) else files)
    if not found:
        raise StorageError(
            expected=f"files of checkpoints ({', '.join(_SUFFIXES)}) or checkpoint-* folders in {path}",
            got=", ".join(entry.name for entry in entries[:5]) or "an empty folder",
            hint="Pass the folder that holds them, or a list of files.",
        )
    return found


def _natural(name: str) -> list[tuple[int, str]]:
    """The parts of a name, with numbers in the order of their values."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _steps_of(listed: list[Any], steps: Sequence[int] | None, steps_per_epoch: int | None) -> list[int]:
    if steps is not None:
        if len(steps) != len(listed):
            raise InputError(
                expected=f"steps for {len(listed)} checkpoints", got=f"{len(steps)}",
                hint=f"In this order: {', '.join(_named(one) for one in listed[:4])}, ...",
            )  # fmt: skip
        return [int(step) for step in steps]
    names = [_stem(one) for one in listed]
    differing = _only_differing_number(names)
    return [
        _step(one, name, number, steps_per_epoch)
        for one, name, number in zip(listed, names, differing, strict=True)
    ]  # fmt: skip


def _stem(checkpoint: Any) -> str:
    if not isinstance(checkpoint, str | Path):
        return ""
    path = Path(checkpoint)
    return path.name.removesuffix(path.suffix) if path.suffix in _SUFFIXES else path.name


def _only_differing_number(names: list[str]) -> list[int | None]:
    """In each name the number that differs between the names, where there is only one such place."""
    numbers = [[int(part) for part in re.findall(r"\d+", name)] for name in names]
    if len({len(row) for row in numbers}) != 1:
        return [row[0] if len(row) == 1 else None for row in numbers]
    places = [place for place, column in enumerate(zip(*numbers, strict=True)) if len(set(column)) > 1]
    if len(names) == 1:
        places = [0] if len(numbers[0]) == 1 else []
    return [row[places[0]] if len(places) == 1 else None for row in numbers]


def _step(checkpoint: Any, name: str, number: int | None, steps_per_epoch: int | None) -> int:
    kept = _kept_step(checkpoint)
    if kept is not None:
        return kept
    in_steps, in_epochs = _OF_STEPS.search(name), _OF_EPOCHS.search(name)
    if in_steps:
        return int(in_steps[1])
    if in_epochs and steps_per_epoch is not None:
        return int(in_epochs[1]) * steps_per_epoch
    if in_epochs:
        raise InputError(
            expected="the optimiser step of each checkpoint", got=f"a number of epochs in {name}",
            hint="Pass steps_per_epoch=, or steps= with one number for each checkpoint.",
        )  # fmt: skip
    if number is not None:
        return number
    raise InputError(
        expected="the optimiser step of each checkpoint, in the file or in its name",
        got=f"none in {name or _named(checkpoint)}",
        hint="Pass steps= with one number for each checkpoint, or {step: checkpoint}.",
    )


def _kept_step(checkpoint: Any) -> int | None:
    """The step that a checkpoint says it was saved at."""
    try:
        if isinstance(checkpoint, str | Path):
            path = Path(checkpoint)
            if path.is_dir():
                content = kept_in(path)
            else:
                content = {} if path.suffix == ".safetensors" else load_without_code(path, mmap=True)
        else:
            content = checkpoint
    except Exception:  # noqa: BLE001 - reading the weights says what is wrong with the file
        return None
    for key in ("global_step", "step"):
        value = content.get(key) if isinstance(content, Mapping) else None
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def read_checkpoint(source: Source) -> dict[str, Any]:
    """The state dict of a checkpoint, read without running code in the file.

    Args:
        source: A state dict; a file of ``torch.save`` or of safetensors, with the weights at its top or under
            "state_dict", "model_state_dict", "model" or "module"; a folder with ``model.safetensors`` or
            ``pytorch_model.bin``, in one file or in several; the index of several; a folder of
            torch.distributed.checkpoint; or one of adapters.

    Raises:
        StorageError: If it cannot be read, or holds no weights.
    """
    if isinstance(source, Mapping):
        return _weights_in(source, "the state dict")
    path = Path(source)
    if path.is_dir() or path.name.endswith(".index.json"):
        return read_folder(path, _of_file)
    return _of_file(path)


def _of_file(path: Path) -> dict[str, Any]:
    return _weights_in(_read(path), str(path))


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return load_without_code(path)
    except ImportError as error:
        raise StorageError(
            expected=f"the package safetensors, which reads {path}", got=error_text(error),
            hint="Install it: pip install safetensors. Or save with torch.save(model.state_dict(), path).",
        ) from error  # fmt: skip
    except Exception as error:
        raise StorageError(
            expected=f"a state dict in {path}",
            got=error_text(error),
            hint="Save it with torch.save(model.state_dict(), path) or as safetensors. Objects in a file are never "
            "made: that could run code in it.",
        ) from error


def _weights_in(content: Any, where: str) -> dict[str, Any]:
    """The weights at the top of a file, or under a name that trainers use."""
    candidates = [content]
    if isinstance(content, Mapping):
        candidates = [content[name] for name in _NESTED if isinstance(content.get(name), Mapping)] + candidates
    for candidate in candidates:
        if isinstance(candidate, Mapping) and any(isinstance(value, Tensor) for value in candidate.values()):
            return dict(candidate)
    got = ", ".join(map(str, list(content)[:6])) if isinstance(content, Mapping) else type(content).__name__
    raise StorageError(
        expected=f"a state dict in {where}, or one under {', '.join(_NESTED)}",
        got=got or "an empty mapping",
        hint="Save it with torch.save(model.state_dict(), path) or as safetensors.",
    )
