"""Image classification data: digits (built in), MNIST, CIFAR-10, and any other by hub id or folder."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from landscope.errors import DataUnavailableError, InputError

__all__ = ["ImageData", "load_images"]

_HUB_IDS = {
    "mnist": "ylecun/mnist",
    "cifar10": "uoft-cs/cifar10",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
}
_N_DIGITS_TRAIN = 1500
_DATA_FOLDER = "LANDSCOPE_DATA"
_GREY_MODES = {"1", "L", "LA"}
_BYTE_MODES = _GREY_MODES | {"P", "RGB", "RGBA", "CMYK", "YCbCr"}


@dataclasses.dataclass(frozen=True)
class ImageData:
    """Images scaled to [0, 1] with their class labels.

    Args:
        name: What was asked for.
        train_images: ``[M, channels, height, width]``.
        train_labels: ``[M]``, from 0.
        test_images: Images not trained on.
        test_labels: Their labels.
        n_classes: Number of classes.
    """

    name: str
    train_images: Float[Tensor, "M c h w"]
    train_labels: Int[Tensor, " M"]
    test_images: Float[Tensor, "m c h w"]
    test_labels: Int[Tensor, " m"]
    n_classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width


def load_images(name: str) -> ImageData:
    """Load an image classification data set.

    Args:
        name: ``"digits"`` (scikit-learn's, no download), ``"mnist"``, ``"cifar10"``, ``"fashion-mnist"``, any
            hub id, or a folder in the hub's layout. A folder of that name under the environment variable
            ``LANDSCOPE_DATA`` is read instead of the network.

    Returns:
        Training and test images scaled to [0, 1].

    Raises:
        DataUnavailableError: If the set is neither here nor to be had, or the extra ``data`` is not installed.
        InputError: If it holds no image and label columns.

    Example:
        >>> digits = load_images("digits")
        >>> tuple(digits.train_images.shape), digits.n_classes
        ((1500, 1, 8, 8), 10)
    """
    return _digits() if name == "digits" else _from_hub(name)


def _digits() -> ImageData:
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = torch.from_numpy(raw.images).float()[:, None] / 16
    labels = torch.from_numpy(raw.target).long()
    # Writers follow one another in the file; a fixed shuffle gives both parts the same writers.
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(labels)))
    train, test = order[:_N_DIGITS_TRAIN], order[_N_DIGITS_TRAIN:]
    return ImageData("digits", images[train], labels[train], images[test], labels[test], 10)


def _from_hub(name: str) -> ImageData:
    try:
        import datasets
    except ImportError as error:
        raise DataUnavailableError(
            expected=f"the data set {name!r}",
            got="no package that reads it",
            hint="Install landscope[data], or use --data digits, which is built in.",
        ) from error
    with _quiet(datasets):
        parts = _load_parts(datasets, name)
    train, test = _split(parts)
    image_column, label_column = _columns(train)
    labels = [_labels(part, label_column) for part in (train, test)]
    n_classes = int(max(part.max() for part in labels)) + 1
    return ImageData(name, _images(train, image_column), labels[0], _images(test, image_column), labels[1], n_classes)


def _load_parts(datasets: Any, name: str) -> Any:
    source = _local_folder(name) or _HUB_IDS.get(name, name)
    if not Path(source).exists() and not _hub_answers():
        # Cached copies load at once in this mode; without it a missing one is retried for half a minute.
        os.environ["HF_HUB_OFFLINE"] = "1"
        datasets.config.HF_HUB_OFFLINE = True
    try:
        return datasets.load_dataset(str(source))
    except Exception as error:
        if isinstance(error, KeyboardInterrupt):
            raise
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
    """Whether the hub can be reached, asked once with a short time limit."""
    import urllib.error
    import urllib.request

    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=3)  # noqa: S310 - https
    except urllib.error.HTTPError:
        return True  # it answered
    except (OSError, ValueError):
        return False
    return True


@contextlib.contextmanager
def _quiet(datasets: Any) -> Generator[None]:
    """No progress bars from inside the loader; the setting comes back."""
    hidden = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not hidden:
            datasets.enable_progress_bars()


def _split(parts: Any) -> tuple[Any, Any]:
    if "train" not in parts:
        raise InputError(expected="a data set with a train split", got=", ".join(parts), hint="Choose another set.")
    held_out = next((parts[name] for name in ("test", "validation", "valid") if name in parts), None)
    if held_out is not None:
        return parts["train"], held_out
    halves = parts["train"].train_test_split(test_size=0.1, seed=0)
    return halves["train"], halves["test"]


def _columns(part: Any) -> tuple[str, str]:
    kinds = {name: type(feature).__name__ for name, feature in part.features.items()}
    images = [name for name, kind in kinds.items() if kind == "Image"]
    labels = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    labels = labels or [name for name in ("label", "labels", "fine_label") if name in kinds]
    if not images or not labels:
        raise InputError(
            expected="an image column and a class label column",
            got=", ".join(f"{name} ({kind})" for name, kind in kinds.items()),
            hint="landscope run takes image classification sets; use the library for others.",
        )
    return images[0], labels[0]


def _labels(part: Any, column: str) -> Tensor:
    return torch.from_numpy(part.with_format("arrow")[:][column].to_numpy().copy()).long()


def _images(part: Any, column: str) -> Tensor:
    """Decode from the stored bytes: twice as fast as the loader's own conversion."""
    import io

    from PIL import Image

    cells = part.with_format("arrow")[:][column].to_pylist()
    images = [Image.open(io.BytesIO(cell["bytes"]) if cell["bytes"] else cell["path"]) for cell in cells]
    modes = {image.mode for image in images}
    if modes - _BYTE_MODES:
        raise InputError(
            expected="images of 8 bits a channel",
            got=", ".join(sorted(modes - _BYTE_MODES)),
            hint="Convert them first.",
        )
    mode = "L" if modes <= _GREY_MODES else "RGB"
    arrays = [np.asarray(image if image.mode == mode else image.convert(mode)) for image in images]
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1:
        raise InputError(
            expected="images of one size",
            got=f"{len(shapes)} different ones",
            hint="Resize them to one size first; --data takes a folder in the hub's layout.",
        )
    pixels = torch.from_numpy(np.stack(arrays))
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    return pixels.contiguous().float() / 255
