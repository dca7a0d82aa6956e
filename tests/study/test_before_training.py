"""What a study refuses before a training begins, and that the check leaves the training as it is."""

import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import landscope as ls
import small_study as small
from landscope.errors import InputError, NondeterministicLossError
from landscope.study.first_samples import first_samples


def samples(width=6, dtype=torch.float32):
    return torch.randn(40, width).to(dtype), torch.arange(40) % 3


def begun(folder, data, losses=None, model=None, **settings):
    """A study whose recording is about to begin."""
    model = model or small.network()
    criterion = None if losses else small.CRITERION
    study = ls.Study(folder / "s", model, criterion, losses=losses, data=data, **settings)
    return study.record(small.sgd(model), small.SELECT)


def of_pair(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


DATA = {
    "tensors": lambda *form: samples(*form),
    "data set": lambda *form: TensorDataset(*samples(*form)),
    "loader": lambda *form: DataLoader(TensorDataset(*samples(*form)), 8, shuffle=True, num_workers=2),
    "batches": lambda *form: [samples(*form)],
}


@pytest.mark.parametrize(
    ("kind", "losses"), [*((kind, None) for kind in DATA), *((kind, of_pair) for kind in DATA if kind != "data set")]
)
def test_data_that_do_not_fit_are_refused_before_the_training(tmp_path, kind, losses):
    for form, named in (((5,), r"\[\d+, 5\] of float32"), ((6, torch.float64), r"\[\d+, 6\] of float64")):
        with pytest.raises(InputError, match=named):
            begun(tmp_path, DATA[kind](*form), losses)
        assert not (tmp_path / "s" / "trajectory").exists()
    begun(tmp_path, DATA[kind](), losses)


@pytest.mark.parametrize(
    ("losses", "kind", "message"),
    [
        (lambda model, batch: batch[0].sum(1), InputError, "a loss that depends on 0.weight"),
        (lambda model, batch: of_pair(model, batch).mean(), InputError, "the loss of each sample, or"),
        (
            lambda model, batch: nn.functional.dropout(of_pair(model, batch)),
            NondeterministicLossError,
            "losses=f draws random numbers",
        ),
    ],
)
def test_losses_that_cannot_be_analysed_are_refused_before_the_training(tmp_path, losses, kind, message):
    with pytest.raises(kind, match=message):
        begun(tmp_path, samples(), losses)


def test_statistics_that_cannot_be_estimated_again_are_refused_before_the_training(tmp_path):
    with pytest.raises(InputError, match="batch_norm='kept' with losses="):
        begun(tmp_path, samples(), of_pair, batch_norm="re-estimated")


def test_a_selection_may_be_read_once(tmp_path):
    study, _, optimizer = small.begin(tmp_path / "s")
    assert study.record(optimizer, (name for name in ("0.weight", "3.bias")))._recorder.space.dim == 63


def test_a_function_that_needs_all_samples_at_once_is_accepted(tmp_path):
    mixing = torch.eye(40)
    begun(tmp_path, samples(), lambda model, batch: of_pair(model, (mixing @ batch[0], batch[1])))


def test_a_model_that_cannot_be_copied_is_trained_all_the_same(tmp_path):
    class Held(nn.Sequential):
        def __deepcopy__(self, memo):
            raise RuntimeError("no memory")

    begun(tmp_path, samples(), model=Held(*small.network()))


class Augmented(Dataset):
    """Draws random numbers of its own and global ones, and keeps what it opened."""

    def __init__(self):
        self.inputs, self.targets = samples()
        self.numpy, self.torch = np.random.default_rng(1), torch.Generator().manual_seed(1)
        self.python, self.opened = [random.Random(1)], False

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, row):
        self.opened = True
        drawn = self.numpy.normal() + random.random() + np.random.rand() + self.python[0].random()  # noqa: NPY002
        noise = torch.rand(6, generator=self.torch) + torch.rand(6)
        return self.inputs[row] + drawn * noise, self.targets[row]

    def joined(self, rows):
        self.numpy.normal()
        return torch.utils.data.default_collate(rows)


class Watched(nn.Module):
    """Draws in training mode, and counts its calls in a buffer."""

    def __init__(self):
        super().__init__()
        self.body = small.network()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs):
        self.calls += 1
        return nn.functional.dropout(self.body(inputs), training=self.training)


def trained(folder, is_checked):
    """The state after a training: weights, buffers, gradients, and what every generator gives next."""
    torch.manual_seed(4)
    model, data = Watched(), Augmented()
    order = torch.Generator().manual_seed(2)
    loader = DataLoader(data, 8, shuffle=True, generator=order, collate_fn=data.joined)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.body[0].weight.grad = torch.ones_like(model.body[0].weight)
    study, space = ls.Study(folder / "s", model, small.CRITERION, loader), ls.ParameterSpace.of(model, "body.0.weight")
    torch.manual_seed(4)
    np.random.seed(4)  # noqa: NPY002
    random.seed(4)  # from here on: the checks of shapes in these tests draw from it
    if is_checked:
        study._subject.check_loss(space)
    assert model.training
    assert not data.opened
    for inputs, targets in loader:
        small.CRITERION(model(inputs), targets).backward()
        optimizer.step()
    state = [*model.state_dict().values(), *(p.grad for p in model.parameters())]
    numbers = (random.random(), np.random.rand(), data.numpy.normal())  # noqa: NPY002
    drawn = (torch.rand(1, generator=order), torch.rand(1), *numbers)
    return [*state, *map(torch.as_tensor, drawn)]


def test_the_check_leaves_the_training_as_it_is_to_the_bit(tmp_path):
    data = Augmented()
    ((inputs, _),) = first_samples(DataLoader(data, 8, shuffle=True, collate_fn=data.joined), collated=True)
    assert inputs.shape == (8, 6)
    pairs = list(zip(trained(tmp_path, False), trained(tmp_path, True), strict=True))
    assert [torch.equal(bare, watched) for bare, watched in pairs] == [True] * len(pairs)


class Stream(IterableDataset):
    def __iter__(self):
        raise AssertionError("the stream was read")


@pytest.mark.parametrize(
    "data",
    [
        Stream(),
        DataLoader(Stream(), 8),
        DataLoader(TensorDataset(*samples()), batch_size=None),
        DataLoader(TensorDataset(*samples()), batch_sampler=[[0, 1]]),
        [],
        {1, 2},
    ],
)
def test_data_that_cannot_be_read_without_a_trace_are_left_alone(data):
    assert first_samples(data, collated=True) is None


def test_inputs_and_targets_of_different_length_are_refused():
    inputs, targets = samples()
    with pytest.raises(InputError, match="40 inputs and 9 targets"):
        ls.Study("nowhere", small.network(), small.CRITERION, (inputs, targets[:9]))


def test_frozen_weights_are_named(tmp_path):
    model = small.network()
    model[0].requires_grad_(False)
    with pytest.warns(ls.errors.LandscopeWarning, match=r"requires a gradient: 0\.weight"):
        ls.TrajectoryRecorder(model, small.sgd(model), small.SELECT, path=tmp_path / "rows")


def test_a_sum_without_its_gradient_is_named(tmp_path):
    with pytest.raises(InputError, match=r"sum as a tensor; got \(float, int\)"):
        begun(tmp_path, DATA["batches"](), lambda model, batch: (of_pair(model, batch).sum().item(), len(batch[0])))


def test_an_analysis_says_that_the_training_did_not_end_or_had_other_data(tmp_path):
    model, (inputs, targets) = small.network(), small.samples()
    study = ls.Study(tmp_path / "s", model, small.CRITERION, (inputs, targets), **small.SETTINGS)
    optimizer = small.sgd(model)
    with pytest.raises(KeyboardInterrupt), study.record(optimizer, small.SELECT):  # noqa: PT012 - a stopped training
        small.train(model, optimizer, last=100)
        raise KeyboardInterrupt
    with pytest.warns(ls.errors.LandscopeWarning, match=r"did not end; .* \d+ rows .* first_step="):
        study.analyse(until="modes", progress=False)
    study.discard_results()
    with study.record(optimizer, small.SELECT, first_step=101):
        small.train(model, optimizer, first=101, last=120)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ls.errors.LandscopeWarning)
        study.analyse(until="modes", progress=False)
    other = ls.Study(tmp_path / "s", model, small.CRITERION, (inputs + 1, targets), **small.SETTINGS)
    with pytest.warns(ls.errors.LandscopeWarning, match="other samples than those of the recorded training"):
        other.analyse(until="modes", progress=False)
