import pytest

import landscope as ls
from landscope.adapters import huggingface
from landscope.adapters import lightning as pl
from landscope.errors import InputError
from own_model import CE, X, Y, losses_of, net


def test_a_loss_is_a_function():
    memory = ls.TaskMemory(net(), n_modes=2, method="ldc")
    for make in (pl.TaskMemoryCallback, huggingface.TaskMemoryCallback):
        make(memory, criterion=CE)
        make(memory, losses=losses_of, data=[(X, Y)])
        with pytest.raises(InputError, match=r"losses\(model, batch\); got str"):
            make(memory, losses="mean")
        with pytest.raises(InputError, match=r"criterion\(outputs, targets\); got tuple"):
            make(memory, criterion=(X, Y))
