"""A run on the digits of a few seconds, and what it takes for two results to be the same."""

import torch

from landscope.progress import QuietReporter

SMALL = {
    "hidden": [12, 12],
    "batch_size": 100,
    "learning_rate": 0.2,
    "start": 20,
    "window_epochs": 6,
    "fit_modes": [2, 60],
    "spectrum_ranks": [5, 40],
    "flatness_modes": 80,
    "n_nulls": 2,
    "curvature_modes": 20,
    "n_processes": 1,
}


class Listening(QuietReporter):
    """Keeps what is said."""

    def __init__(self):
        super().__init__()
        self.said = []

    def note(self, text):
        self.said.append(text)

    def made_again(self):
        return [line.split()[0].removeprefix("[yellow]") for line in self.said if "is made again" in line]


def without_nan(tensor):
    return tensor.nan_to_num(-1.0) if tensor.is_floating_point() else tensor


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(without_nan(value), without_nan(second[name])), name
        else:
            assert repr(value) == repr(second[name]), name
