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


@pytest.mark.parametrize("make", [pl.TaskMemoryCallback, huggingface.TaskMemoryCallback])
def test_what_is_no_data_or_no_option_is_said_before_the_training(make):
    memory = ls.TaskMemory(net())
    make(memory, losses=losses_of, data=[(X, Y)], loss_options={"seed": 0, "cache_bytes": 0})
    for wrong in ("20", 2.5, 20, True):
        with pytest.raises(InputError, match=r"the data of the task; got .*Pass \(inputs, targets\) or batches"):
            make(memory, criterion=CE, data=wrong)
        with pytest.raises(InputError, match="loss_options with any of count, cache_bytes; got"):
            make(memory, loss_options=wrong)
    for options in ({"batch_size": "20"}, {"seed": 1}):
        with pytest.raises(InputError, match="loss_options with any of count, cache_bytes; got"):
            make(memory, criterion=CE, loss_options=options)
    for name in ("seed", "cache_bytes"):
        for wrong in ("20", 2.5, True, -1):
            with pytest.raises(InputError, match=name):
                make(memory, losses=losses_of, loss_options={name: wrong})


def test_the_folder_to_resume_from_is_a_path():
    with pytest.raises(InputError, match=r"resume_from as a path; got 2\.5"):
        huggingface.TaskMemoryCallback(ls.TaskMemory(net()), 2.5)
