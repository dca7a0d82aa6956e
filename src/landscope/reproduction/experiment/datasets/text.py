"""Text as rows of word numbers."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscope.errors import InputError
from landscope.reproduction.experiment.datasets.hub import HubSet, cells_of
from landscope.reproduction.experiment.datasets.labelled import PADDING, LabelledData

__all__ = ["tokenise"]

_UNKNOWN = "<unk>"
_UNKNOWN_TOKEN = 1
_MAX_WORDS = 10_000
_MAX_LENGTH = 256
_COVERED_PERCENT = 95
_TEXT_NAMES = ("text", "sentence", "content")

_Analyser = Callable[[str], list[str]]


def tokenise(hub: HubSet) -> LabelledData:
    """Turn the text of a data set into word numbers.

    Words are those of scikit-learn's ``CountVectorizer``: lower case, at least two letters or digits. The vocabulary is
    the 10,000 most frequent words of the training texts, the most frequent first, ties by alphabet; all other words are
    ``"<unk>"``. The length is the least that 95 % of the training texts do not exceed, at most 256; longer texts are
    cut, and a text without words is one ``"<unk>"``.

    Raises:
        InputError: If it has no text column, or several and none of a usual name.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    column, analyse = _text_column(hub), CountVectorizer().build_analyzer()
    train_texts, test_texts = _texts(hub.train, column), _texts(hub.test, column)
    counts, length = _survey(train_texts, analyse)
    words = sorted(counts, key=lambda word: (-counts[word], word))[:_MAX_WORDS]
    vocabulary = (PADDING, _UNKNOWN, *words)
    numbers = {word: number for number, word in enumerate(vocabulary)}
    return LabelledData(
        hub.name,
        train_inputs=_encode(train_texts, analyse, numbers, length),
        train_labels=hub.train_labels,
        test_inputs=_encode(test_texts, analyse, numbers, length),
        test_labels=hub.test_labels,
        n_classes=hub.n_classes,
        vocabulary=vocabulary,
    )


def _text_column(hub: HubSet) -> str:
    named = [name for name in _TEXT_NAMES if name in hub.string_columns]
    if named:
        return named[0]
    if len(hub.string_columns) != 1:
        raise InputError(
            expected="an image column, or one text column",
            got=hub.described,
            hint=f"Name the column of texts {_TEXT_NAMES[0]!r}, or leave only one of strings.",
        )
    return hub.string_columns[0]


def _texts(part: Any, column: str) -> list[str]:
    return [text or "" for text in cells_of(part, column)]


def _survey(texts: Sequence[str], analyse: _Analyser) -> tuple[collections.Counter[str], int]:
    """How often each word occurs, and the length of a row."""
    counts: collections.Counter[str] = collections.Counter()
    lengths = []
    for text in texts:
        words = analyse(text)
        counts.update(words)
        lengths.append(max(len(words), 1))
    covered = int(np.percentile(lengths, _COVERED_PERCENT, method="inverted_cdf"))
    return counts, min(covered, _MAX_LENGTH)


def _encode(texts: Sequence[str], analyse: _Analyser, numbers: dict[str, int], length: int) -> Tensor:
    # Texts are analysed anew, as the words of a large set take far more memory than their numbers.
    rows = np.zeros((len(texts), length), dtype=np.int64)
    for row, text in zip(rows, texts, strict=True):
        tokens = [numbers.get(word, _UNKNOWN_TOKEN) for word in analyse(text)[:length]] or [_UNKNOWN_TOKEN]
        row[: len(tokens)] = tokens
    return torch.from_numpy(rows)
