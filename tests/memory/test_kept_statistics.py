"""Layers with running statistics stay in eval mode while a memory keeps them, and nothing of the user's is lost."""

import copy
import io
import pickle
import pickletools

import pytest
import torch
from torch import nn

from landscope.memory.between_tasks.kept_statistics import kept_statistics

X = torch.tensor([[1.0], [3.0]])


def model():
    return nn.Sequential(nn.BatchNorm1d(1, eps=1e-12, affine=False), nn.Dropout(0.5))


def moves(norm):
    before = norm.running_mean.clone()
    norm(X)
    return not torch.equal(before, norm.running_mean)


def test_statistics_known_by_hand_are_used_and_kept_whatever_mode_is_asked_for():
    net = model()
    net[0].running_mean.fill_(5.0)
    net[0].running_var.fill_(4.0)
    with kept_statistics(net):
        assert net.train() is net
        assert net[0](X).flatten().tolist() == [-2.0, -1.0]  # (x - 5) / 2
        assert net.training
        assert net[1].training
        assert (net[0].running_mean.item(), net[0].running_var.item()) == (5.0, 4.0)
    assert moves(net[0])


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("asked", [True, False, None])
def test_each_layer_ends_in_the_mode_that_was_asked_for_last(before, asked):
    net = model().train(before)
    with kept_statistics(net):
        if asked is not None:
            net.train(asked)
    assert net[0].training is (before if asked is None else asked)
    assert "train" not in vars(net[0])


def evaluated_by_flags(net):
    """As Lightning's validation does: the modes are noted, and given back as flags."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    for module, training in modes:
        module.training = training


@pytest.mark.parametrize("around", [lambda net: nn.Sequential(net), lambda net: net])
def test_an_evaluation_in_between_is_no_mode_that_was_asked_for(around):
    net = model()
    whole = around(net)
    with kept_statistics(net):
        evaluated_by_flags(whole)
        assert net.training
        assert not net[0].training
    assert net[0].training
    assert moves(net[0])


def test_an_evaluation_at_the_end_leaves_the_model_as_it_is():
    net = model()
    with kept_statistics(net):
        evaluated_by_flags(net)
        net.eval()
    assert not net[0].training


def test_a_layer_that_was_set_to_eval_alone_stays_so():
    net = model()
    with kept_statistics(net):
        net.train()
        net[0].eval()
        evaluated_by_flags(net)
    assert net.training
    assert not net[0].training


def test_a_layer_that_is_the_model_has_the_mode_that_was_asked_for_last():
    norm = model()[0]
    with kept_statistics(norm):
        norm.eval()
    assert not norm.training


def test_an_error_in_the_loop_gives_the_layers_back():
    net = model()
    with pytest.raises(ZeroDivisionError), kept_statistics(net):
        raise ZeroDivisionError
    assert moves(net[0])


def test_two_memories_of_one_model_may_end_in_any_order():
    net = model()
    one, other = kept_statistics(net), kept_statistics(net)
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert not moves(net.train()[0])
    other.__exit__(None, None, None)
    assert moves(net[0])


def test_copies_made_meanwhile_are_plain_models():
    net = model()
    with kept_statistics(net):
        stored = io.BytesIO()
        torch.save(net, stored)
        stored.seek(0)
        copies = [copy.deepcopy(net), pickle.loads(pickle.dumps(net)), torch.load(stored, weights_only=False)]
        copies.append(copy.deepcopy(copies[0]))
        for other in copies:
            assert not moves(other.eval()[0])
            assert moves(other.train()[0])
            assert other[0].train.__func__ is nn.Module.train
            assert other[0].train.__self__ is other[0]
        assert not moves(net[0])


def test_a_file_of_the_whole_model_needs_no_landscope():
    net = model()
    with kept_statistics(net):
        stored = pickle.dumps(net)
    names = [str(argument) for _, argument, _ in pickletools.genops(stored)]
    assert any("BatchNorm1d" in name for name in names)
    assert not any("landscope" in name for name in names)


def test_a_train_method_of_the_user_stays():
    net, asked = model(), []
    plain = net[0].train
    net[0].train = lambda mode=True: (asked.append(mode), plain(mode))[1]
    own = net[0].train
    with kept_statistics(net):
        net.eval()
        copied = copy.deepcopy(net)
    assert asked == [False]
    assert net[0].train is own
    copied[0].train(True)
    assert asked == [False, True]


@pytest.mark.slow
def test_a_model_compiled_and_called_before_keeps_them_too():
    net = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    compiled = torch.compile(net, backend="eager")
    compiled(X)
    before = net[1].running_mean.clone()
    with kept_statistics(net):
        compiled.train()(X)
        assert torch.equal(net[1].running_mean, before)
    compiled(X)
    assert not torch.equal(net[1].running_mean, before)
