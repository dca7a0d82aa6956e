"""From the name of a data set to its images or tokens."""

from __future__ import annotations

from landscope.reproduction.experiment.datasets.hub import load_hub
from landscope.reproduction.experiment.datasets.images import ImageData, decode_images, digits
from landscope.reproduction.experiment.datasets.sequences import MODULAR_ADDITION, modular_addition
from landscope.reproduction.experiment.datasets.text import TokenData, tokenise

__all__ = ["load_data"]


def load_data(name: str) -> ImageData | TokenData:
    """Load a classification data set of images, text or sequences.

    A set with an image column gives images; otherwise its text column (one named ``text``, ``sentence`` or ``content``,
    or the only column of strings beside the labels) gives tokens. The classes are those of the train split in sorted
    order, numbered from 0. The test data are the first of the splits ``test``, ``validation`` and ``valid`` that has
    labels, or a tenth of the train split where there is none.

    Args:
        name: ``"digits"`` (scikit-learn's) or ``"modular-addition"`` (pairs of numbers, their sum mod 31), which need
            no download; ``"mnist"``, ``"cifar10"``, ``"fashion-mnist"``, any hub id, or a folder in the hub's layout.
            A folder of that name under the environment variable ``LANDSCOPE_DATA`` is read instead of the network.

    Returns:
        Training and test data.

    Raises:
        DataUnavailableError: If the set is neither here nor can be downloaded, or the extra ``data`` is not installed.
        InputError: If it holds no label column or neither images nor text, or if some of its labels are missing.

    Example:
        >>> load_data("digits").shape
        (1, 8, 8)
        >>> load_data("modular-addition").n_tokens
        33
    """
    if name == "digits":
        return digits()
    if name == MODULAR_ADDITION:
        return modular_addition()
    hub = load_hub(name)
    return tokenise(hub) if hub.image_column is None else decode_images(hub, hub.image_column)
