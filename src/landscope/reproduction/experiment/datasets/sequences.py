"""Sequences made by a rule, without a download."""

from __future__ import annotations

import numpy as np
import torch

from landscope.reproduction.experiment.datasets.text import PADDING, TokenData

__all__ = ["MODULAR_ADDITION", "modular_addition"]

MODULAR_ADDITION = "modular-addition"

_MODULUS = 31
_TRAIN_PERCENT = 80


def modular_addition() -> TokenData:
    """All sums ``a + b mod 31``, as the sequences ``a b =`` with the sum as the class.

    This is the task of the grokking literature (Power et al. 2022, arXiv:2201.02177): a network fits the training
    pairs long before it finds the rule. Of the 961 pairs with ``0 <= a, b < 31`` a fixed shuffle gives 80 % to
    training. Token 0 is padding, which never occurs; ``a`` stands as token ``a + 1`` and ``=`` as token 32.

    Returns:
        768 training and 193 test sequences of three tokens.

    Example:
        >>> data = modular_addition()
        >>> [data.vocabulary[token] for token in data.train_tokens[0]], int(data.train_labels[0])
        (['30', '30', '='], 29)
    """
    numbers = torch.arange(_MODULUS)
    pairs = torch.cartesian_prod(numbers, numbers)
    equals = torch.full((len(pairs), 1), _MODULUS + 1)
    tokens, labels = torch.cat([pairs + 1, equals], dim=1), pairs.sum(dim=1) % _MODULUS
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(pairs)))
    n_train = len(pairs) * _TRAIN_PERCENT // 100
    train, test = order[:n_train], order[n_train:]
    return TokenData(
        MODULAR_ADDITION,
        train_tokens=tokens[train],
        train_labels=labels[train],
        test_tokens=tokens[test],
        test_labels=labels[test],
        n_classes=_MODULUS,
        vocabulary=(PADDING, *map(str, range(_MODULUS)), "="),
    )
