"""From the name of a data set to its images or tokens."""

from __future__ import annotations

import numpy as np
import torch

from landscope.reproduction.experiment.datasets.hub import load_hub
from landscope.reproduction.experiment.datasets.images import decode_images, digits
from landscope.reproduction.experiment.datasets.labelled import PADDING, LabelledData
from landscope.reproduction.experiment.datasets.text import tokenise

__all__ = ["load_data", "modular_addition"]

_MODULAR_ADDITION = "modular-addition"
_MODULUS = 31
_TRAIN_PERCENT = 80


def load_data(name: str) -> LabelledData:
    """Load a classification data set of images, text or sequences.

    A set with an image column gives images; otherwise its text column (one named ``text``, ``sentence`` or ``content``,
    or the only column of strings beside the labels) gives tokens. The classes are those of the train split in sorted
    order, numbered from 0. The test data are the first of the splits ``test``, ``validation`` and ``valid`` that has
    labels, or a tenth of the train split where there is none.

    Args:
        name: ``"digits"`` (scikit-learn's) or ``"modular-addition"`` (pairs of numbers, their sum mod 31), which need
            no download; ``"mnist"``, ``"cifar10"``, ``"fashion-mnist"``, any hub id, or a folder in the hub's layout.
            A folder of that name under the environment variable ``LANDSCOPE_DATA`` is read instead of the network.

    Raises:
        DataUnavailableError: If the set is neither here nor can be downloaded, or the extra ``data`` is not installed.
        InputError: If it holds no label column or neither images nor text, or if some of its labels are missing.

    Example:
        >>> load_data("digits").train_inputs.shape
        torch.Size([1500, 1, 8, 8])
        >>> len(load_data("modular-addition").vocabulary)
        33
    """
    if name == "digits":
        return digits()
    if name == _MODULAR_ADDITION:
        return modular_addition()
    hub = load_hub(name)
    return tokenise(hub) if hub.image_column is None else decode_images(hub, hub.image_column)


def modular_addition() -> LabelledData:
    """All sums ``a + b mod 31``, as the sequences ``a b =`` with the sum as the class.

    This is the task of the grokking literature (Power et al. 2022, arXiv:2201.02177): a network fits the training
    pairs long before it finds the rule. Of the 961 pairs with ``0 <= a, b < 31`` a fixed shuffle gives 80 % to
    training. Token 0 is padding, which never occurs; ``a`` stands as token ``a + 1`` and ``=`` as token 32.

    Example:
        >>> data = modular_addition()
        >>> [data.vocabulary[token] for token in data.train_inputs[0]], int(data.train_labels[0])
        (['30', '30', '='], 29)
    """
    numbers = torch.arange(_MODULUS)
    pairs = torch.cartesian_prod(numbers, numbers)
    equals = torch.full((len(pairs), 1), _MODULUS + 1)
    tokens, labels = torch.cat([pairs + 1, equals], dim=1), pairs.sum(dim=1) % _MODULUS
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(pairs)))
    n_train = len(pairs) * _TRAIN_PERCENT // 100
    train, test = order[:n_train], order[n_train:]
    return LabelledData(
        _MODULAR_ADDITION,
        train_inputs=tokens[train],
        train_labels=labels[train],
        test_inputs=tokens[test],
        test_labels=labels[test],
        n_classes=_MODULUS,
        vocabulary=(PADDING, *map(str, range(_MODULUS)), "="),
    )
