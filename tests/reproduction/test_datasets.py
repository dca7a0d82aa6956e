"""Images, text and sequences, from small folders in the hub's layout whose tensors are known by hand."""

import time
import urllib.request

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from landscope.errors import DataUnavailableError, InputError
from landscope.reproduction.experiment.datasets.loading import load_data

TEXT_AND_CLASS = datasets.Features(
    {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])},
)


@pytest.fixture(autouse=True)
def cache_of_this_test(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def folder(tmp_path):
    """Writes splits into a folder and says where it is."""

    def write(features=None, *, name="set", **splits):
        place = tmp_path / name
        place.mkdir()
        for split, columns in splits.items():
            rows = datasets.Dataset.from_dict(columns, features=features)
            rows.to_parquet(place / f"{split}-00000-of-00001.parquet")
        return str(place)

    return write


def image_features(column, n_classes):
    return datasets.Features({column: datasets.Image(), "label": datasets.ClassLabel(num_classes=n_classes)})


def pictures(n, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def as_files(pixels):
    return [Image.fromarray(picture) for picture in pixels]


def text_set(folder, train_labels, test_labels=None, features=None):
    """One text a label, all alike."""
    splits = {"train": train_labels, "test": test_labels}
    return load_data(
        folder(features, **{
            split: {"text": ["some words"] * len(labels), "label": labels}
            for split, labels in splits.items() if labels is not None
        })
    )  # fmt: skip


def test_grey_images_under_the_data_folder_have_one_channel(folder, tmp_path, monkeypatch):
    train, test = pictures(4, 28, 28), pictures(2, 28, 28, seed=1)
    folder(
        image_features("image", 3), name="fashion-mnist",
        train={"image": as_files(train), "label": [2, 0, 1, 2]}, test={"image": as_files(test), "label": [1, 1]},
    )  # fmt: skip
    monkeypatch.setenv("LANDSCOPE_DATA", str(tmp_path))
    data = load_data("fashion-mnist")
    assert (data.name, data.n_classes) == ("fashion-mnist", 3)
    assert torch.equal(data.train_inputs, torch.from_numpy(train)[:, None].float() / 255)
    assert torch.equal(data.test_inputs, torch.from_numpy(test)[:, None].float() / 255)
    assert data.train_labels.tolist() == [2, 0, 1, 2]
    assert data.test_labels.tolist() == [1, 1]


def test_colour_images_have_three_channels_first(folder):
    pixels = pictures(3, 5, 7, 3)
    columns = {"img": as_files(pixels), "label": [0, 1, 0]}
    data = load_data(folder(image_features("img", 2), train=columns, test=columns))
    assert not data.vocabulary
    assert data.train_inputs.shape == (3, 3, 5, 7)
    assert data.train_inputs[2, 1, 4, 6] == np.float32(pixels[2, 4, 6, 1]) / np.float32(255)


def test_images_come_before_strings(folder):
    features = datasets.Features(
        {"text": datasets.Value("string"), "image": datasets.Image(), "label": datasets.Value("string")},
    )
    columns = {"text": ["a cat", "a dog"], "image": as_files(pictures(2, 4, 4)), "label": ["dog", "cat"]}
    data = load_data(folder(features, train=columns, test=columns))
    assert not data.vocabulary
    assert data.train_labels.tolist() == [1, 0]


def test_images_of_other_sizes_or_depths_are_refused(folder):
    sizes = as_files(pictures(1, 4, 4)) + as_files(pictures(1, 4, 5))
    deep = as_files(pictures(2, 4, 4).astype(np.uint16))
    for name, files, message in (("sizes", sizes, "one size"), ("deep", deep, "8 bits a channel")):
        columns = {"image": files, "label": [0, 1]}
        with pytest.raises(InputError, match=message):
            load_data(folder(image_features("image", 2), name=name, train=columns, test=columns))


def test_text_becomes_numbers_of_its_words(folder):
    """Counts: cat, ran, the 2; dog, sat 1; "A" is too short to be a word."""
    train = {"text": ["The cat sat. The cat ran!", "A dog ran", ""], "label": ["yes", "no", "yes"]}
    test = {"text": ["The bird sat", None], "label": ["no", "yes"]}
    data = load_data(folder(train=train, test=test))
    assert data.vocabulary == ("<pad>", "<unk>", "cat", "ran", "the", "dog", "sat")
    assert data.train_inputs.tolist() == [[4, 2, 6, 4, 2, 3], [5, 3, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]]
    assert data.test_inputs.tolist() == [[4, 1, 6, 0, 0, 0], [1, 0, 0, 0, 0, 0]]
    assert data.train_inputs.dtype == torch.int64
    assert (data.train_labels.tolist(), data.test_labels.tolist(), data.n_classes) == ([1, 0, 1], [0, 1], 2)


@pytest.mark.parametrize(("n_long", "words", "length"), [(5, 9, 3), (6, 9, 9), (6, 300, 256)])
def test_rows_are_as_long_as_95_percent_of_the_texts_need(folder, n_long, words, length):
    texts = ["one two three"] * (100 - n_long) + ["word " * words] * n_long
    columns = {"text": texts, "label": [0, 1] * 50}
    tokens = load_data(folder(train=columns, test=columns)).train_inputs
    assert tokens.shape == (100, length)
    assert (tokens[-1] > 0).all()


def test_the_vocabulary_ends_after_ten_thousand_words(folder):
    """w00000 and w10002 occur twice, all others once: the alphabet leaves out w09999, w10000 and w10001."""
    words = [f"w{number:05}" for number in range(10_003)]
    train = {"text": [" ".join([*words, words[-1]]), "w00000"], "label": [0, 1]}
    test = {"text": ["w09999 w09998 w10002"], "label": [0]}
    data = load_data(folder(train=train, test=test))
    assert len(data.vocabulary) == 10_002
    assert data.vocabulary[2:5] == ("w00000", "w10002", "w00001")
    assert data.test_inputs[0, :4].tolist() == [1, 10_001, 3, 0]


def test_the_text_column_is_the_named_one_or_the_only_one(folder):
    several = {"source": ["web", "book"], "sentence": ["good", "bad"], "label": [0, 1]}
    assert load_data(folder(name="named", train=several, test=several)).vocabulary[2:] == ("bad", "good")
    only = {"review": ["good", "bad"], "label": ["x", "y"]}
    assert load_data(folder(name="only", train=only, test=only)).vocabulary[2:] == ("bad", "good")
    pair = {"premise": ["good", "bad"], "claim": ["bad", "good"], "label": [0, 1]}
    with pytest.raises(InputError, match=r"one text column; got premise \(string\), claim \(string\), label \(int64\)"):
        load_data(folder(name="pair", train=pair, test=pair))
    none = {"size": [1.0, 2.0], "label": [0, 1]}
    with pytest.raises(InputError, match="an image column, or one text column"):
        load_data(folder(name="none", train=none, test=none))


def test_class_labels_keep_their_numbers(folder):
    data = text_set(folder, [1, 0, 1], [0], TEXT_AND_CLASS)
    assert (data.train_labels.tolist(), data.test_labels.tolist(), data.n_classes) == ([1, 0, 1], [0], 2)


def test_gaps_in_the_labels_close(folder):
    data = text_set(folder, [5, 2, 9, 2], [9, 5])
    assert (data.train_labels.tolist(), data.test_labels.tolist(), data.n_classes) == ([1, 0, 2, 0], [2, 1], 3)


def test_an_unlabelled_test_split_gives_way_to_the_validation_split(folder):
    texts = {split: {"text": [f"{split} words"] * 2, "label": labels}
             for split, labels in (("train", [0, 1]), ("test", [-1, -1]), ("validation", [1, 1]))}  # fmt: skip
    data = load_data(folder(TEXT_AND_CLASS, **texts))
    assert data.test_labels.tolist() == [1, 1]
    assert data.vocabulary == ("<pad>", "<unk>", "train", "words")
    assert data.test_inputs.tolist() == [[1, 3], [1, 3]]


@pytest.mark.parametrize("test_labels", [None, [-1, -1, -1]])
def test_without_labels_to_test_on_a_tenth_of_the_train_split_is_held_out(folder, test_labels):
    data = text_set(folder, [0, 1] * 10, test_labels)
    assert (len(data.train_labels), len(data.test_labels)) == (18, 2)
    assert sorted([*data.train_labels.tolist(), *data.test_labels.tolist()]) == [0] * 10 + [1] * 10


def test_a_test_split_without_a_label_column_is_an_unlabelled_one(folder):
    data = load_data(folder(train={"text": ["some words"] * 20, "label": [0, 1] * 10}, test={"text": ["more words"]}))
    assert len(data.test_labels) == 2


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0, 1, -1], [0], r"a label in every row of the split train; got 1 of 3 rows unlabelled"),
        ([-1, -1], [0], r"split train; got 2 of 2 rows unlabelled"),
        ([0, 1], [0, -1], r"split test; got 1 of 2 rows unlabelled .* Remove these rows"),
        (["a", "b", None], ["a"], r"split train; got 1 of 3"),
        (["a", "b"], ["c"], r"the classes of the train split in the split test; got 1 others, 'c' among them"),
        ([0.5, 1.0], [0.5], r"a class label column.*got text \(string\), label \(double|float64\)"),
        ([0], None, "at least two rows"),
    ],
)
def test_labels_that_cannot_be_used_are_named(folder, train, test, message):
    with pytest.raises(InputError, match=message):
        text_set(folder, train, test)


def test_a_set_without_a_train_split_is_refused(folder):
    with pytest.raises(InputError, match="a train split; got test"):
        load_data(folder(test={"text": ["a word"], "label": [0]}))


def test_modular_addition_holds_every_pair_once_with_its_sum():
    data = load_data("modular-addition")
    assert (data.n_classes, len(data.vocabulary), data.vocabulary[0], data.vocabulary[32]) == (31, 33, "<pad>", "=")
    assert (data.train_inputs.shape, data.test_inputs.shape) == ((768, 3), (193, 3))
    pairs = set()
    for tokens, labels in ((data.train_inputs, data.train_labels), (data.test_inputs, data.test_labels)):
        for row, label in zip(tokens.tolist(), labels.tolist(), strict=True):
            a, b, equals = (data.vocabulary[token] for token in row)
            assert (int(a) + int(b)) % 31 == label
            assert equals == "="
            pairs.add((int(a), int(b)))
    assert len(pairs) == 961
    assert torch.equal(data.train_inputs, load_data("modular-addition").train_inputs)


def test_a_hub_id_offline_fails_at_once_and_asks_nobody(monkeypatch):
    asked = []

    def refuse(*args, **kwargs):
        asked.append(args)
        raise OSError

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    before = datasets.config.HF_HUB_OFFLINE
    started = time.monotonic()
    with pytest.raises(DataUnavailableError, match="no-such/data-set"):
        load_data("no-such/data-set")
    assert time.monotonic() - started < 5
    assert not asked
    assert before == datasets.config.HF_HUB_OFFLINE
