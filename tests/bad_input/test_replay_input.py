import pytest
import torch
from torch import nn

from landscope.errors import InputError
from landscope.memory import Replay
from own_model import X, Y, net

TOKENS = torch.randint(3, (12, 4))


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        ((X, Y.double()), {}, "an integer label each"),
        ((X, Y[:5]), {}, "an integer label each"),
        ((X, X), {}, "an integer label each"),
        ((X[:, 0], Y), {}, "an integer label each"),
        ([], {}, "no batch"),
        ([{"x": X, "labels": Y}], {}, "an integer label each"),
        (3, {}, "inputs and labels, or batches of them"),
        ((X[:0], Y[:0]), {}, "no sample"),
        ((X, Y - 1), {}, "a smallest label -1"),
        ((X * float("nan"), Y), {}, "NaN in the inputs"),
        ((X, Y + 1), {}, "below the number of outputs, 3"),
        ((X, Y), {"outputs": (0, 1)}, "3 different outputs or more"),
        ((X, Y), {"outputs": (0, 1, 1)}, "3 different outputs or more"),
        ((X, Y), {"outputs": (0, 1, 5)}, "below the number of outputs, 3"),
        ((X, Y), {"outputs": (0, 1, -1)}, "each of outputs"),
    ],
)
def test_data_that_are_no_labelled_samples_are_refused(data, settings, message):
    replay = Replay(net())
    with pytest.raises(InputError, match=message):
        replay.consolidate(data, **settings)
    assert (replay.n_tasks, replay.n_stored) == (0, 0)


def test_a_model_that_is_no_classifier_is_refused():
    with pytest.raises(InputError, match="one row of logits a sample"):
        Replay(nn.Embedding(3, 2)).consolidate((TOKENS, Y))
    with pytest.raises(InputError, match="the model of type Module"):
        Replay(lambda x: x)
    with pytest.raises(InputError, match="store to be one of"):
        Replay(net(), store="all")


def test_gaussians_of_integers_and_of_another_shape_are_refused():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.last = nn.Embedding(3, 2), nn.Linear(2, 3)

        def forward(self, tokens):
            return self.last(self.embedding(tokens).mean(1))

    with pytest.raises(InputError, match="floating-point inputs"):
        Replay(Tokens(), store="gaussians").consolidate((TOKENS, Y))
    replay = Replay(Tokens())
    replay.consolidate((TOKENS, Y))
    with pytest.raises(InputError, match="as of the earlier tasks"):
        replay.consolidate((TOKENS[:, :2], Y))
    assert replay.n_tasks == 1
