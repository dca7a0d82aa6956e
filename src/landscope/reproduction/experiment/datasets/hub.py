"""Data sets in the layout of the hub, on this machine or on the hub: splits, and labels as numbers."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landscope.errors import DataUnavailableError, InputError

__all__ = ["HubSet", "cells_of", "load_hub"]

_HUB_IDS = {
    "mnist": "ylecun/mnist",
    "cifar10": "uoft-cs/cifar10",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
}
_DATA_FOLDER = "LANDSCOPE_DATA"
_OFFLINE = "HF_HUB_OFFLINE"
_HELD_OUT = ("test", "validation", "valid")
_LABEL_NAMES = ("label", "labels", "fine_label")
_UNLABELLED = -1


@dataclasses.dataclass(frozen=True)
class HubSet:
    """A labelled data set as the loader of the hub gives it, before its columns are decoded.

    Args:
        name: Name of the data set.
        train: Rows to train on.
        test: Rows of the test data.
        train_labels: Labels of the training rows ``[M]``, from 0.
        test_labels: Labels of the test rows, from 0.
        n_classes: Number of classes.
        label_column: Column of the labels.
    """

    name: str
    train: Any
    test: Any
    train_labels: Tensor
    test_labels: Tensor
    n_classes: int
    label_column: str

    @property
    def image_column(self) -> str | None:
        """The first column of images, if there is one."""
        return next((name for name, kind in _kinds(self.train).items() if kind == "Image"), None)

    @property
    def string_columns(self) -> tuple[str, ...]:
        """Columns of strings beside the labels."""
        kinds = _kinds(self.train)
        return tuple(name for name, kind in kinds.items() if _is_string(kind) and name != self.label_column)

    @property
    def described(self) -> str:
        """All columns with their types, for messages."""
        return _described(self.train)


def load_hub(name: str) -> HubSet:
    """Find a data set, hold out a test part, and number its classes in sorted order.

    The test part is the first held-out split with labels, or a tenth of the train split.

    Args:
        name: A folder, a folder under ``LANDSCOPE_DATA``, a short name, or a hub id; looked for in this order.

    Raises:
        DataUnavailableError: If the set is neither here nor can be downloaded, or the extra ``data`` is not installed.
        InputError: If there is no train split or label column, if some labels are missing, or if classes are held out
            that are not trained on.
    """
    parts = _read(name)
    if "train" not in parts:
        raise InputError(expected="a data set with a train split", got=", ".join(parts), hint="Choose another set.")
    column = _label_column(parts["train"])
    classes = sorted(set(_complete_labels(parts["train"], column)))
    train, test = _split(parts, column)
    numbers = {label: number for number, label in enumerate(classes)}
    train_labels, test_labels = (_numbered(part, column, numbers) for part in (train, test))
    return HubSet(name, train, test, train_labels, test_labels, len(classes), column)


def _read(name: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataUnavailableError(
            expected=f"the data set {name!r}",
            got="no package that reads it",
            hint="Install it: pip install 'landscope[data]'. Or use --data digits, which is built in.",
        ) from error
    source = _local_folder(name) or _HUB_IDS.get(name, name)
    offline = not Path(source).exists() and not _hub_answers()
    try:
        with _quick_and_quiet(datasets, offline=offline):
            return datasets.load_dataset(str(source))
    except Exception as error:
        raise DataUnavailableError(
            expected=f"the data set {name!r} as a folder, in the hub's cache, or on the hub",
            got=f"{type(error).__name__}",
            hint=f"Check the name or the network, or set {_DATA_FOLDER} to a folder that holds {name!r}; "
            "--data digits is built in.",
        ) from error


def _local_folder(name: str) -> Path | None:
    if Path(name).is_dir():
        return Path(name)
    root = os.environ.get(_DATA_FOLDER)
    if root and (Path(root) / name).is_dir():
        return Path(root) / name
    return None


def _hub_answers() -> bool:
    """Whether downloads are allowed and the hub answers within a few seconds."""
    import urllib.error
    import urllib.request

    if os.environ.get(_OFFLINE, "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=3)  # noqa: S310 - https
    except urllib.error.HTTPError:
        return True  # it answered
    except (OSError, ValueError):
        return False
    return True


@contextlib.contextmanager
def _quick_and_quiet(datasets: Any, *, offline: bool) -> Generator[None]:
    """No progress bars; offline no downloads, which are tried for half a minute otherwise. The settings come back."""
    before, hidden = datasets.config.HF_HUB_OFFLINE, datasets.are_progress_bars_disabled()
    datasets.config.HF_HUB_OFFLINE = before or offline
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before
        if not hidden:
            datasets.enable_progress_bars()


def cells_of(part: Any, column: str) -> list[Any]:
    """A column as it is stored."""
    return part.select_columns([column]).with_format("arrow")[:][column].to_pylist()


def _kinds(part: Any) -> dict[str, str]:
    """The type of each column: the dtype of plain values, the name of the type of others."""
    kinds = {name: type(feature).__name__ for name, feature in part.features.items()}
    return {name: part.features[name].dtype if kind == "Value" else kind for name, kind in kinds.items()}


def _described(part: Any) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in _kinds(part).items())


def _is_string(kind: str) -> bool:
    return kind in ("string", "large_string")


def _label_column(part: Any) -> str:
    kinds = _kinds(part)
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    labels += [name for name in _LABEL_NAMES if _is_string(kinds.get(name, "")) or _is_whole(kinds.get(name, ""))]
    if not labels:
        raise InputError(
            expected=f"a class label column: of type ClassLabel, or integers or strings named {_LABEL_NAMES[0]!r}",
            got=_described(part),
            hint="Rename or convert the column that holds the classes; landscope trains on classification sets.",
        )
    return labels[0]


def _is_whole(kind: str) -> bool:
    return kind == "bool" or kind.startswith(("int", "uint"))


def _labels(part: Any, column: str) -> list[Any]:
    """The labels of the set; None where a row has none."""
    return [None if cell == _UNLABELLED else cell for cell in cells_of(part, column)]


def _complete_labels(part: Any, column: str) -> list[Any]:
    labels = _labels(part, column)
    missing = labels.count(None)
    if missing or not labels:
        raise InputError(
            expected=f"a label in every row of the split {part.split}",
            got=f"{missing} of {len(labels)} rows unlabelled ({_UNLABELLED} or nothing in column {column!r})",
            hint=f"Remove these rows, or choose another set; if {_UNLABELLED} is a class, number classes from 0.",
        )
    return labels


def _split(parts: Any, column: str) -> tuple[Any, Any]:
    """The train split and the first held-out one that has labels; a part of the former where none has."""
    for name in _HELD_OUT:
        if name in parts and any(label is not None for label in _labels(parts[name], column)):
            return parts["train"], parts[name]
    if len(parts["train"]) < 2:
        raise InputError(expected="at least two rows, one to hold out", got="1", hint="Choose a larger set.")
    halves = parts["train"].train_test_split(test_size=0.1, seed=0)
    return halves["train"], halves["test"]


def _numbered(part: Any, column: str, numbers: dict[Any, int]) -> Tensor:
    labels = _complete_labels(part, column)
    unknown = set(labels) - numbers.keys()
    if unknown:
        raise InputError(
            expected=f"the classes of the train split in the split {part.split}",
            got=f"{len(unknown)} others, {min(unknown)!r} among them",
            hint="Remove their rows, or add rows of these classes to the train split.",
        )
    return torch.tensor([numbers[label] for label in labels])
