"""What a user's train_on may do wrong: each is a plain error after four steps, before anything is stored."""

import copy
import shutil

import pytest
import torch
from torch import nn

import landscope as ls
import small_study as small
from landscope.errors import InputError
from landscope.study.same_rule import check_same_lengths, check_same_rates, check_same_rule
from landscope.study.training_facts import TrainingFacts
from landscope.study.trial import STEPS, try_train_on

STUDY_MODEL = []


def going_on(optimizer=small.sgd, before=None, after=None, steps=lambda n: n, draw=None, criterion=small.CRITERION):
    """A train_on with one thing changed."""

    def train_on(model, record, *, sampling, n_steps, seed):
        if before is not None:
            before(model)
        made = optimizer(model)
        inputs, labels = small.samples()
        generator = torch.Generator().manual_seed(seed)
        model.train() if before is None else None
        with record(made):
            for _ in range(steps(n_steps)):
                batch = torch.randint(120, (small.BATCH,), generator=generator) if draw is None else draw(seed)
                made.zero_grad()
                criterion(model(inputs[batch]), labels[batch]).backward()
                made.step()
        if after is not None:
            after(model)

    return train_on


def sgd_with(**options):
    return lambda model: torch.optim.SGD(model.parameters(), **{"lr": 0.1, **options})


def _no_record(model, record, *, sampling, n_steps, seed):
    small.train(model, small.sgd(model), 1, n_steps)


def _no_with(model, record, *, sampling, n_steps, seed):
    optimizer = small.sgd(model)
    record(optimizer)
    small.train(model, optimizer, 1, n_steps)


def _twice(model, record, *, sampling, n_steps, seed):
    optimizer = small.sgd(model)
    for _ in range(2):
        with record(optimizer):
            small.train(model, optimizer, 1, n_steps // 2)


def _generator(model, record, *, sampling, n_steps, seed):
    yield small.sgd(model)


async def _awaited(model, record, *, sampling, n_steps, seed):
    pass


def _raises(model, record, *, sampling, n_steps, seed):
    {}["loader"]


def _records_the_model(model, record, *, sampling, n_steps, seed):
    record(model)


def _trains_the_studys_model(model, record, *, sampling, n_steps, seed):
    optimizer = small.sgd(STUDY_MODEL[-1])
    with record(optimizer):
        small.train(STUDY_MODEL[-1], optimizer, 1, n_steps)


def _calls_the_studys_model(model, record, *, sampling, n_steps, seed):
    """The optimiser is of the argument, the loss is of the study's model in train mode."""
    optimizer = small.sgd(model)
    with record(optimizer):
        for step in range(n_steps):
            small.train(STUDY_MODEL[-1], optimizer, step, step)


def _shared_iterator():
    generator = torch.Generator().manual_seed(0)
    batches = iter([torch.randint(120, (small.BATCH,), generator=generator) for _ in range(STEPS + 2)])

    def train_on(model, record, *, sampling, n_steps, seed):
        optimizer, (inputs, labels) = small.sgd(model.train()), small.samples()
        with record(optimizer):
            for batch, _ in zip(batches, range(n_steps), strict=False):
                optimizer.zero_grad()
                small.CRITERION(model(inputs[batch]), labels[batch]).backward()
                optimizer.step()

    return train_on


def _without_zero_grad(model, record, *, sampling, n_steps, seed):
    optimizer, (inputs, labels) = small.sgd(model.train()), small.samples()
    generator = torch.Generator().manual_seed(seed)
    with record(optimizer):
        for _ in range(n_steps):
            batch = torch.randint(120, (small.BATCH,), generator=generator)
            small.CRITERION(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()


def _in_double(model, record, *, sampling, n_steps, seed):
    optimizer, (inputs, labels) = small.sgd(model.double()), small.samples()
    with record(optimizer):
        for _ in range(n_steps):
            small.CRITERION(model(inputs.double()), labels).backward()
            optimizer.step()


def drawn_alike(_):
    return torch.arange(small.BATCH)


def drawn_anew(_, state=[0]):  # noqa: B006 - a loader that lives on between calls
    state[0] += 1
    return torch.randperm(120, generator=torch.Generator().manual_seed(state[0]))[: small.BATCH]


def larger(seed):
    return torch.randperm(120, generator=torch.Generator().manual_seed(seed))[: 2 * small.BATCH]


MISTAKES = {
    "another rate": (going_on(sgd_with(lr=0.05)), r"learning rate of the recorded window, 0\.1; got 0\.05"),
    "momentum": (going_on(sgd_with(momentum=0.9)), "the momentum of the recorded one, 0; got 0.9"),
    "weight decay": (going_on(sgd_with(weight_decay=1e-3)), "the weight decay of the recorded one, 0; got 0.001"),
    "nesterov": (going_on(sgd_with(momentum=0.5, nesterov=True)), "the momentum of the recorded one"),
    "uphill": (going_on(sgd_with(maximize=True)), "the maximize of the recorded one"),
    "Adam": (going_on(lambda model: torch.optim.Adam(model.parameters(), lr=0.1)), "with SGD, .*; got Adam"),
    "no record": (_no_record, "does not call record"),
    "no with": (_no_with, "one recorded optimiser step; got none.*inside the with block"),
    "record twice": (_twice, "one `with record.*a second one"),
    "a generator": (_generator, "got a generator. Write it as a plain function"),
    "a coroutine": (_awaited, "got a coroutine"),
    "an error": (_raises, r"got KeyError: 'loader' \(line \d+ of .*test_training_on"),
    "no optimiser": (_records_the_model, "the optimizer"),
    "the study's model": (_trains_the_studys_model, "holds none of its recorded weights"),
    "a call of the study's model": (_calls_the_studys_model, "end where they began|changes the model of the study"),
    "too few steps": (going_on(steps=lambda n: n // 2), "4 steps .*got 2"),
    "no step": (going_on(steps=lambda n: 0), "4 steps .*got 0"),
    "eval mode": (going_on(before=lambda model: model.eval()), r"another mode of 1 at the first step"),
    "another dtype": (_in_double, r"stay in torch\.float32; got torch\.float64"),
    "a finished iterator": (_shared_iterator(), "4 steps .*got 1.* made in each call"),
    "the seed unused": (going_on(draw=drawn_alike), "other minibatches for another seed"),
    "minibatches of a global state": (going_on(draw=drawn_anew), "the same training on for the same seed"),
    "larger minibatches": (going_on(draw=larger), "minibatches of 12 samples.*got a first minibatch of 24"),
    "a sum for a mean": (going_on(criterion=nn.CrossEntropyLoss(reduction="sum")), "a gradient 12 times as long"),
    "gradients that add up": (_without_zero_grad, "the sum of this gradient and the last one"),
    "a rate of zero": (going_on(sgd_with(lr=0.0)), "learning rate of the recorded window"),
}


@pytest.fixture(scope="module")
def study(recorded_folder, tmp_path_factory):
    folder = shutil.copytree(recorded_folder, tmp_path_factory.mktemp("study") / "s")
    made = small.opened(folder, train_on=small.train_on)
    STUDY_MODEL.append(made.model)
    return made


def tried(study, train_on):
    study._subject.train_on = train_on
    return try_train_on(study._analysis)


@pytest.mark.filterwarnings("ignore:No optimiser step was recorded", "ignore:No recorded weight moved")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_before_anything_is_stored(study, mistake):
    before = copy.deepcopy(study.model.state_dict())
    files = sorted(path.name for path in study.path.iterdir())
    train_on, message = MISTAKES[mistake]
    with pytest.raises(InputError, match=message):
        tried(study, train_on)
    assert files == sorted(path.name for path in study.path.iterdir())
    assert all(torch.equal(value, study.model.state_dict()[name]) for name, value in before.items())


def test_what_is_right_is_served_and_known_again(study):
    def in_eval(model):
        model.eval()

    first, again = tried(study, going_on()), tried(study, going_on(after=in_eval))
    assert first == again
    assert first != tried(study, small.train_on)
    study.model.eval()  # as after an evaluation: the training that goes on is in the recorded modes all the same
    assert tried(study, going_on(before=lambda model: None)) == first
    study.model.train()
    assert tried(study, going_on(optimizer=sgd_with())) == first


def test_an_order_alone_is_tried_and_no_order_is_no_error(study):
    asked = []

    def one_order(model, record, *, sampling, n_steps, seed):
        if sampling != "fixed":
            raise NotImplementedError("fixed only")
        asked.append(sampling)
        small.train_on(model, record, sampling="reshuffled", n_steps=n_steps, seed=seed)

    def none(model, record, *, sampling, n_steps, seed):
        raise NotImplementedError("none yet")

    assert tried(study, one_order) is not None
    assert set(asked) == {"fixed"}
    assert tried(study, none) is None


def test_an_analysis_refuses_it_before_its_first_result(recorded):
    study = small.opened(recorded, train_on=going_on(sgd_with(lr=0.05)))
    with pytest.raises(InputError, match="learning rate of the recorded window"):
        study.analyse(dynamics=True, progress=False)
    assert not study.folder.names()


def test_rules_are_compared_by_their_numbers():
    sgd = TrainingFacts(optimizer="SGD", learning_rate=0.1, momentum=0.9)
    check_same_rule(sgd, sgd)
    check_same_rule(TrainingFacts(), sgd)  # an imported recording says nothing
    with pytest.raises(InputError, match=r"the momentum of the recorded one, 0\.9; got 0"):
        check_same_rule(sgd, TrainingFacts(optimizer="SGD"))
    check_same_rates(0.05, 0.01, 0.1)
    check_same_rates(0.5, float("nan"), float("nan"))
    with pytest.raises(InputError, match=r"0\.01 to 0\.1; got 0\.2"):
        check_same_rates(0.2, 0.01, 0.1)


def test_steps_are_compared_by_their_length():
    """Ten steps of length 1 and of length 2.5 along one axis."""
    one = ls.Trajectory.of(torch.arange(11.0)[:, None] * torch.tensor([1.0, 0.0]))
    other = ls.Trajectory.of(2.5 * torch.arange(11.0)[:, None] * torch.tensor([0.0, 1.0]))
    assert check_same_lengths(one, other, is_rule_known=True) == pytest.approx(2.5)
    with pytest.raises(InputError, match=r"steps 2\.5 times as long"):
        check_same_lengths(one, other, is_rule_known=False)
