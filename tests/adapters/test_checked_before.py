"""What cannot serve a model is said when its training begins."""

import types

import pytest

import landscope as ls
from landscope.adapters import avalanche
from landscope.errors import InputError
from own_model import CE, X, Y, net, sgd


def test_avalanche_says_before_the_training_that_labels_do_not_fit():
    model = net()
    plugin = avalanche.TaskMemoryPlugin(ls.TaskMemory(model, n_modes=2))

    for shift in (7, 0):
        samples = [(x, int(y) + shift, 0) for x, y in zip(X, Y, strict=True)]
        strategy = types.SimpleNamespace(
            model=model, optimizer=sgd(model), _criterion=CE, experience=types.SimpleNamespace(dataset=samples)
        )
        if shift:
            with pytest.raises(InputError, match="labels from 0 to 2"):
                plugin.before_training_exp(strategy)
    assert plugin.memory.n_tasks == 0
    plugin.before_training_exp(strategy)  # with labels that fit
    with pytest.warns(UserWarning, match="took no step"):
        plugin._end()
