import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.memory import Gaussians, Generated, Replay, Samples
from landscope.memory.replay.replayed_tasks import ReplayedTasks
from own_model import CE, X, Y, net

pytestmark = pytest.mark.filterwarnings("ignore:replay learns the cross-entropy")  # the losses here are made up
TOKENS = torch.randint(3, (12, 4))


def tasks(source=None):
    return ReplayedTasks.of(Replay() if source is None else Replay(source=source))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X, Y.double()), "an integer label each"),
        ((X, Y[:5]), "as many targets as inputs"),
        ((X, X), "an integer label each"),
        ((X[:, 0], Y), "an integer label each"),
        ([], "at least one sample"),
        ([{"x": X, "y": Y}], "For replay: Pass"),
        (3, "For replay: Pass"),
        ((X[:0], Y[:0]), "at least one sample"),
        ((X, Y - 1), "a smallest label -1"),
        ((X * float("nan"), Y), "NaN or infinity in the inputs"),
        ((X, Y + 1), "below the number of outputs, 3"),
        ([{"x": X, "more": [1] * 12, "labels": Y}], "an integer label each"),
        ([(X, Y), (X[:, :3], Y)], "samples of one form"),
    ],
)
def test_data_that_are_no_labelled_samples_are_refused(data, message):
    with pytest.raises(InputError, match=message):
        tasks().with_task(net(), data, 1.0)


def test_options_are_checked():
    for make in (
        lambda: Replay(0), lambda: Replay(source="all"), lambda: Replay(temperature=0.0), lambda: Samples(per="day"),
        lambda: Replay(outputs="scores"), lambda: Generated(prompt=0), lambda: Gaussians(-1),
        lambda: ls.TaskMemory(net(), replay="class"), lambda: ls.TaskMemory(net(), batch_norm="frozen"),
        lambda: ls.TaskMemory(net(), replay=True), lambda: ls.TaskMemory(net(), replay=0),
        lambda: ls.TaskMemory(net(), method=None), lambda: ls.TaskMemory(net(), method=None, strength=1.0, replay=8),
    ):  # fmt: skip
        with pytest.raises(InputError):
            make()


def test_a_model_or_a_source_that_does_not_fit_is_refused_and_nothing_changes():
    with pytest.raises(InputError, match="a model with logits of shape"):
        tasks().with_task(nn.Embedding(3, 2), (TOKENS, Y), 1.0)
    with pytest.raises(InputError, match="as many of each class"):
        tasks(Samples(2, per="class")).with_task(nn.Embedding(3, 3), (TOKENS, TOKENS), 1.0)
    memory = ls.TaskMemory(net(), method="l2", strength=1.0, replay=Replay(source=Generated()))
    for call in (memory.check, memory.consolidate):  # also before the training
        with pytest.raises(InputError, match="their own labels"):
            call(CE, (X, Y))
    assert (memory.n_tasks, memory.n_stored) == (0, 0)
    memory = ls.TaskMemory(net(), method="l2", strength=1.0, replay=8)
    with pytest.raises(InputError, match="the data of the task, to replay"):
        memory.consolidate_at(ls.EmpiricalRisk(memory.model, CE, (X, Y), space=memory.space))


def test_gaussians_of_integers_and_of_another_shape_are_refused():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.last = nn.Embedding(3, 2), nn.Linear(2, 3)

        def forward(self, tokens):
            return self.last(self.embedding(tokens).mean(1))

    class Means(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(1, 3)

        def forward(self, x):
            return self.last(x.mean(1, keepdim=True))

    with pytest.raises(InputError, match="floating-point inputs"):
        tasks(Gaussians()).with_task(Tokens(), (TOKENS, Y), 1.1)
    found = tasks(Gaussians()).with_task(Means(), (X, Y), 1.0)
    with pytest.raises(InputError, match="as of the earlier tasks"):
        found.with_task(Means(), (X[:, :2], Y), 1.0)
    stored = tasks().with_task(Means(), (X, Y), 1.0)
    for call in (stored.check, lambda *given: stored.with_task(*given, 1.0)):
        with pytest.raises(InputError, match="of one form"):
            call(Means(), (X[:, :2], Y))
