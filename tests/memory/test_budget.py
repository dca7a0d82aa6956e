"""The strength that follows from how much the loss of earlier tasks may rise."""

import contextlib
import copy
import math
import warnings

import pytest
import torch
from torch import nn

import landscope as ls
from blobs import CRITERION, accuracy, learn, network, sgd, task
from landscope.errors import InputError, LandscopeWarning
from landscope.memory import Budget


def learnt(**options):
    model = network()
    memory, optimizer = ls.TaskMemory(model, **options), sgd(model)
    with memory.training(optimizer):
        learn(model, optimizer, task(0), 150, torch.Generator().manual_seed(1))
    memory.consolidate(CRITERION, task(0))
    return memory, optimizer


def loss_of_first(model):
    x, y = task(0)
    return nn.functional.cross_entropy(model(x), y).detach()


def go_on(memory, optimizer, steps=300):
    with memory.training(optimizer):
        learn(memory.model, optimizer, task(1), steps, torch.Generator().manual_seed(2))


def test_the_predicted_rise_ends_at_the_budget_whatever_the_strength_was():
    factors = []
    for strength in (0.1, 10.0):
        memory, optimizer = learnt(strength=strength)
        memory.budget(0.2, absolute=0.0)
        go_on(memory, optimizer)
        assert memory.rise.allowed == pytest.approx(math.log(1.2))
        assert memory.rise.predicted == pytest.approx(memory.rise.allowed, rel=0.3)
        value = memory.output_ratio * float(memory.held(memory.space.flatten(memory.model))) / strength
        assert memory.rise.predicted == pytest.approx(math.log(1 + math.e * value), rel=1e-4)
        factors.append(strength * memory.rise.factor)
    assert factors[0] == pytest.approx(factors[1], rel=0.3)


@pytest.mark.parametrize("ratio", [2.0, math.e])
@pytest.mark.parametrize("z2", [0.0002, 0.002, 0.02])
def test_a_predicted_rise_of_a_parabola_is_the_rise(ratio, z2):
    """L = 0.01 + z^2, as the mean over two samples; it is predicted to twice its minimum for a ratio of 2, and more."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    data = torch.ones(4, 1), torch.tensor([[0.9], [1.1]] * 2)
    memory = ls.TaskMemory(model, ratio=ratio, strength=7.0)
    memory.consolidate(nn.MSELoss(), data)
    memory.budget(0.05)
    memory._tasks.budget.follow(
        memory.held(torch.tensor([1.0 + math.sqrt(z2)])).item(), torch.ones(1), lambda _: contextlib.nullcontext(model)
    )
    assert memory.rise.predicted == pytest.approx(math.log1p(z2 / 0.01), rel=0.02)  # the edge is found to 1 %


def test_far_from_the_end_the_larger_prediction_counts():
    budget = ls.memory.Basin()
    share = [math.expm1(budget.predicted_rise(value, math.e)) / value for value in (1e-6, 1.7)]
    assert share == pytest.approx([math.e, math.e], rel=1e-5)
    assert budget.predicted_rise(2.0, math.e) == 2.0 > math.log1p(2 * math.e)
    assert ls.memory.LDC().predicted_rise(0.5, math.e) == 0.5


def test_a_smaller_budget_keeps_more_and_learns_less():
    kept = []
    for rise, absolute in ((0.001, 0.0), (0.5, 1000.0)):
        memory, optimizer = learnt()
        memory.budget(rise, absolute=absolute)
        go_on(memory, optimizer)
        kept.append((accuracy(memory.model, task(0)), accuracy(memory.model, task(1))))
    (old, new), (other_old, other_new) = kept
    assert old > other_old
    assert new < other_new


def test_a_measured_rise_stays_within_the_budget_where_the_prediction_is_wrong():
    memory, optimizer = learnt(method="l2", strength=1.0)  # its value says nothing about the loss
    before = float(loss_of_first(memory.model))
    memory.budget(0.5, absolute=0.0, samples=loss_of_first, every=2)
    go_on(memory, optimizer, 400)
    rise = math.log(float(loss_of_first(memory.model)) / before)
    assert memory.rise.allowed == pytest.approx(math.log(1.5))
    assert 0.5 * memory.rise.allowed < rise <= memory.rise.allowed + 1e-5  # float32


def test_a_loss_near_zero_may_rise_by_the_absolute_amount():
    budget = Budget(0.05, absolute=0.01)
    budget.start(nn.Linear(1, 1), torch.zeros(2), loss1=1e-4)
    assert budget.allowed == pytest.approx(math.log(1 + 100))
    budget.start(nn.Linear(1, 1), torch.zeros(2), loss1=1.0)
    assert budget.allowed == pytest.approx(math.log(1.05))


def test_weights_that_went_too_far_go_back_to_the_largest_rise_within_the_bound():
    # L = 1 + |w|^2: a rise by 0.5 allows |w|^2 = 0.5, and six halvings find the way back to 1/64.
    model = nn.Linear(2, 1, bias=False)

    @contextlib.contextmanager
    def at(w):
        model.weight.data.copy_(w.view(1, 2))
        yield model

    budget = Budget(0.5, absolute=0.0, measure=lambda m: 1 + m.weight.detach().square().sum())
    nn.init.zeros_(model.weight)
    budget.start(model, torch.zeros(2), loss1=1.0)
    near, far = torch.tensor([0.3, 0.4]), torch.tensor([3.0, 4.0])
    assert torch.equal(budget.follow(0.1, near, at), near)
    for _ in range(9):
        budget.follow(0.1, near, at)
    found = budget.follow(0.1, far, at)
    share = float(found.norm() / far.norm())
    assert share == pytest.approx(math.sqrt(0.5) / 5, abs=1 / 64)
    assert torch.allclose(found, share * far)
    assert budget.spent().measured <= budget.allowed


def test_measuring_leaves_the_model_and_the_random_state_alone():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    model[0].eval()
    random, seen = torch.get_rng_state(), []
    budget = Budget(0.1, measure=lambda m: seen.append(m[1].training) or torch.rand(()) + 1)
    budget.start(model, torch.zeros(6), loss1=1.0)
    budget.follow(0.1, torch.zeros(6), lambda _: contextlib.nullcontext(model))
    assert set(seen) == {False}
    assert [model.training, model[0].training, model[1].training] == [True, False, True]
    assert torch.equal(random, torch.get_rng_state())


def test_the_strength_and_the_budget_may_change_at_any_time_also_in_a_state():
    memory, optimizer = learnt()
    w = memory.space.flatten(memory.model) + 0.1
    value = float(memory.held(w))
    memory.strength = 5.0
    assert float(memory.held(w)) == pytest.approx(5 * value, rel=1e-5)
    memory.budget(0.3)
    go_on(memory, optimizer, 30)
    again = ls.TaskMemory(memory.model, strength=2.0)
    again.load_state_dict(memory.state_dict())
    assert float(again.held(w)) == pytest.approx(2 * value, rel=1e-5)
    assert again.rise.factor == memory.rise.factor
    assert again.rise.allowed == memory.rise.allowed
    again.budget(None)
    assert again.rise is None


def test_misuse_is_refused():
    memory, optimizer = learnt()
    with memory.training(optimizer):
        with pytest.raises(InputError, match="change the budget"):
            memory.budget(0.1)
        with pytest.raises(InputError, match="change the strength"):
            memory.strength = 2.0
        learn(memory.model, optimizer, task(1), 1, torch.Generator())
    for wrong in (0.0, -0.1, math.nan):
        with pytest.raises(InputError, match="rise"):
            memory.budget(wrong)
    with pytest.raises(InputError, match=r"l2 alone. Pass samples=100"):
        ls.TaskMemory(network(), method="l2", strength=1.0).budget(0.1)
    with pytest.raises(InputError, match="implicit steps"):
        ls.TaskMemory(network(), implicit=False).budget(0.1)
    nothing, _ = learnt(strength=0.0)
    with pytest.raises(InputError, match="cannot be scaled"):
        nothing.strength = 1.0


def test_what_a_model_knows_is_kept_without_its_training():
    model = network()
    learn(model, sgd(model), task(0), 150, torch.Generator().manual_seed(1))
    memory = ls.keep(model, CRITERION, task(0), strength=3.0)
    assert (memory.n_tasks, memory.strength) == (1, 3.0)
    go_on(memory, sgd(model), 100)
    assert accuracy(model, task(0)) > 0.9
    with pytest.raises(InputError, match="record the training"):
        ls.keep(model, CRITERION, task(0), method="ldc")


def test_the_rise_is_measured_on_samples_that_the_memory_took():
    model = network()
    learn(model, sgd(model), task(0), 150, torch.Generator().manual_seed(1))
    before = float(loss_of_first(model))
    memory = ls.keep(model, CRITERION, task(0), budget=0.2, samples=10**6)
    assert memory.rise.measured == 0.0
    go_on(memory, sgd(model), 400)
    rise = math.log(float(loss_of_first(model)) / before)
    assert memory.rise.measured <= memory.rise.allowed
    assert rise == pytest.approx(memory.rise.measured, rel=1e-3)
    assert "rows" in memory.state_dict()
    plain = ls.keep(model, CRITERION, task(0))
    with pytest.raises(InputError, match="1 tasks without samples"):
        plain.budget(0.1, samples=10)


def test_a_budget_at_the_end_lets_the_training_run_and_goes_back_on_the_line():
    """The weights are those of the same training without a budget, moved back by the least number of 64ths."""
    model = network()
    learn(model, sgd(model), task(0), 150, torch.Generator().manual_seed(1))
    free = copy.deepcopy(model)
    go_on(ls.keep(free, CRITERION, task(0)), sgd(free), 200)
    memory = ls.keep(model, CRITERION, task(0), budget=0.2, samples=10**6, at_end=True)
    before, w1 = loss_of_first(model), memory.space.flatten(model)
    go_on(memory, sgd(model), 200)
    away, found = memory.space.flatten(free) - w1, memory.space.flatten(model) - w1
    share = float((found @ away) / (away @ away))
    assert torch.allclose(found, share * away, atol=1e-6)
    assert share * 64 == pytest.approx(round(share * 64), abs=1e-3)
    assert 0 < share < 1

    def rise(at):
        nn.utils.vector_to_parameters(w1 + at * away, free.parameters())
        return math.log(float(loss_of_first(free) / before))

    assert rise(share) <= memory.rise.allowed < rise(share + 1 / 64)
    assert memory.rise.measured == pytest.approx(rise(share), rel=1e-3)
    assert memory.rise.factor == memory.output_ratio
    assert memory.state_dict()["budget"]["at_end"] is True
    with pytest.raises(InputError, match="samples with at_end=True"):
        memory.budget(0.2, at_end=True)


def test_weights_within_the_budget_at_the_end_stay():
    model = network()
    learn(model, sgd(model), task(0), 150, torch.Generator().manual_seed(1))
    free = copy.deepcopy(model)
    go_on(ls.keep(free, CRITERION, task(0)), sgd(free), 30)
    go_on(ls.keep(model, CRITERION, task(0), budget=0.5, absolute=1e6, at_end=True), sgd(model), 30)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), free.parameters(), strict=True))


def test_a_loaded_state_has_no_samples_and_says_so():
    model = network()
    learn(model, sgd(model), task(0), 150, torch.Generator().manual_seed(1))
    state = ls.keep(model, CRITERION, task(0), budget=0.2).state_dict()
    again = ls.TaskMemory(model)
    again.budget(0.2, samples=10)
    with pytest.warns(UserWarning, match="no samples of its tasks"):
        again.load_state_dict(state)
    go_on(again, sgd(model), 20)
    assert again.rise.measured is None
    assert again.rise.predicted > 0


def test_a_penalty_that_predicts_no_rise_says_none():
    memory, optimizer = learnt(method="l2", strength=1.0)
    memory.budget(0.5, samples=loss_of_first)
    go_on(memory, optimizer, 20)
    assert math.isnan(memory.rise.predicted)
    assert memory.rise.measured <= memory.rise.allowed


def test_an_error_of_the_loop_comes_first():
    memory, optimizer = learnt()
    memory.budget(0.5, samples=lambda _: math.nan if torch.isnan(memory.model[0].weight).any() else 1.0)

    def fails():
        with memory.training(optimizer):
            learn(memory.model, optimizer, task(1), 1, torch.Generator())
            memory.model[0].weight.data.fill_(math.nan)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fails()


def test_a_budget_made_before_a_state_is_loaded_holds_after_it():
    model = network()
    learn(model, sgd(model), task(0), 150, torch.Generator().manual_seed(1))
    without = ls.keep(model, CRITERION, task(0))
    predicted_only = ls.keep(model, CRITERION, task(0))
    predicted_only.budget(0.2, absolute=0.0)
    before = float(loss_of_first(model))
    for state in (without.state_dict(), predicted_only.state_dict()):
        own = copy.deepcopy(model)
        again = ls.TaskMemory(own)
        again.budget(0.2, absolute=0.0, samples=loss_of_first)
        again.load_state_dict(state)
        go_on(again, sgd(own), 100)
        assert 0 < again.rise.measured <= again.rise.allowed == pytest.approx(math.log(1.2))
        assert math.log(float(loss_of_first(own)) / before) == pytest.approx(again.rise.measured, rel=1e-4)


@pytest.mark.parametrize("at_end", [False, True])
def test_a_measured_budget_goes_on_in_the_middle_of_a_task_with_the_same_bits(at_end):
    found = []
    for stops in (False, True):
        memory, optimizer = learnt(strength=1.0)
        memory.budget(0.2, samples=loss_of_first, every=4, at_end=at_end)
        go_on(memory, optimizer, 7)
        if stops:
            state, memory = memory.state_dict(), ls.TaskMemory(memory.model, strength=1.0)
            memory.budget(0.2, samples=loss_of_first, every=4, at_end=at_end)
            memory.load_state_dict(state)
        between = memory.rise
        go_on(memory, optimizer, 9)
        found.append((between, memory.rise, memory.space.flatten(memory.model)))
    assert found[0][:2] == found[1][:2]
    assert torch.equal(found[0][2], found[1][2])


@pytest.mark.parametrize(("method", "at_end"), [("l2", False), ("basin", True)])
def test_a_budget_that_can_neither_measure_nor_predict_ends_and_says_so(method, at_end):
    memory, optimizer = learnt(method=method, strength=1.0)
    memory.budget(0.2, samples=loss_of_first, at_end=at_end)
    go_on(memory, optimizer, 5)
    again = ls.TaskMemory(memory.model, method=method, strength=1.0)
    with pytest.warns(UserWarning, match="the budget ends, and the tasks are held at the strength of the memory"):
        again.load_state_dict(memory.state_dict())
    assert again.rise is None


def test_a_stored_measured_budget_that_is_predicted_from_now_on_says_so():
    memory, _ = learnt(strength=1.0)
    memory.budget(0.2, samples=loss_of_first)
    again = ls.TaskMemory(memory.model, strength=1.0)
    with pytest.warns(UserWarning, match="so the rise is predicted from now on"):
        again.load_state_dict(memory.state_dict())
    assert again.rise.measured is None


def test_a_finished_task_begins_without_a_rise():
    memory, optimizer = learnt(strength=1.0)
    memory.budget(0.2, samples=loss_of_first)
    go_on(memory, optimizer, 20)
    assert memory.rise.measured != 0
    memory.consolidate(CRITERION, task(1))
    assert (memory.rise.measured, memory.rise.predicted) == (0, 0)


def kept_and_begun(data, **options):
    """A pretrained model in the middle of a task under a measured budget: weights before and now, and the state."""
    model = network()
    learn(model, sgd(model), task(0), 100, torch.Generator().manual_seed(1))
    before = copy.deepcopy(model.state_dict())
    memory = ls.keep(model, CRITERION, data, budget=0.2, samples=20, strength=1.0, **options)
    go_on(memory, sgd(model), 40)
    return before, copy.deepcopy(model.state_dict()), memory


def resumed(before, now, state, data, **options):
    """In a new process: a memory at the weights before, or those now where none are given, and then the state."""
    model = network(seed=1)
    model.load_state_dict(before)
    memory = ls.keep(model, CRITERION, data, budget=0.2, samples=20, strength=1.0, **options)
    model.load_state_dict(now)
    memory.load_state_dict(state)
    return memory


@pytest.mark.parametrize("options", [{}, {"select": "0.*"}])
def test_a_memory_made_at_the_weights_that_it_keeps_goes_on_with_the_same_bits(options):
    before, now, memory = kept_and_begun(task(0), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = resumed(before, now, copy.deepcopy(memory.state_dict()), task(0), **options)
    ends = []
    for one in (memory, again):
        go_on(one, sgd(one.model), 40)
        ends.append((one.rise, torch.cat([p.detach().flatten() for p in one.model.parameters()])))
    assert ends[0][0] == ends[1][0]
    assert torch.equal(ends[0][1], ends[1][1])


@pytest.mark.parametrize("what", ["weights that are not held", "samples"])
def test_a_budget_that_measures_something_else_after_a_restart_says_so_and_counts_from_there(what):
    options = {"select": "0.*"} if what != "samples" else {}
    before, now, memory = kept_and_begun(task(0), **options)
    other = tuple(part.flip(0) for part in task(0)) if what == "samples" else task(0)
    with pytest.warns(LandscopeWarning, match="make the memory at the weights that it keeps"):
        again = resumed(before if what == "samples" else now, now, memory.state_dict(), other, **options)
    assert again._tasks.budget.measured == 0.0  # counted from there; the model has gone on
    go_on(again, sgd(again.model), 40)
    assert again.rise.measured <= again.rise.allowed


@pytest.mark.parametrize("has_budget", [False, True])
@pytest.mark.parametrize("is_loaded", [False, True])
def test_a_budget_that_comes_in_the_middle_of_a_task_counts_from_the_end_of_the_last_one(has_budget, is_loaded):
    memory, optimizer = learnt(strength=0.1)
    at_end = float(loss_of_first(memory.model))
    if has_budget:
        memory.budget(0.5, absolute=10.0)
    go_on(memory, optimizer, 40)
    if is_loaded:
        state, memory = memory.state_dict(), ls.TaskMemory(memory.model, strength=0.1)
        memory.load_state_dict(state)
    weights = memory.space.flatten(memory.model)
    assert float(loss_of_first(memory.model)) > 2 * at_end
    memory.budget(0.2, absolute=0.0, samples=loss_of_first)
    assert torch.equal(memory.space.flatten(memory.model), weights)
    go_on(memory, optimizer, 20)
    assert memory.rise.measured <= memory.rise.allowed == pytest.approx(math.log(1.2))
    assert float(loss_of_first(memory.model)) / at_end <= 1.2 + 1e-4


def test_the_absolute_rise_is_an_argument_of_keep_too():
    model = network()
    learn(model, sgd(model), task(0), 150, torch.Generator().manual_seed(1))
    found = [ls.keep(model, CRITERION, task(0), budget=0.05, absolute=a).rise.allowed for a in (0.0, 100.0)]
    assert found[0] == pytest.approx(math.log(1.05))
    assert found[1] > 2.0
    with pytest.raises(InputError, match="absolute"):
        ls.keep(model, CRITERION, task(0), absolute=-1.0)


@pytest.mark.parametrize(("given", "words"), [(5, r"5 lets .* by 500 %.*pass 0\.05"), (1.0, r"1 lets .* by 100 %")])
def test_a_budget_that_looks_like_percents_is_told(given, words):
    with pytest.warns(UserWarning, match=f"a budget of {words}") as told:
        memory = ls.keep(network(), CRITERION, task(0), budget=given)
    assert told[0].filename == __file__
    assert memory.rise.allowed == pytest.approx(math.log(1 + given))
    memory.budget(0.99)
    memory.budget(None)


def loss_rise(memory, loss1):
    return math.log(float(loss_of_first(memory.model)) / loss1)


def by_steps_of_the_penalty(memory):
    optimizer = sgd(memory.model)
    with ls.ProximalSteps(memory.held, memory.model, optimizer):
        learn(memory.model, optimizer, task(1), 20, torch.Generator().manual_seed(3))


def by_merging(memory):
    with torch.no_grad():
        memory.model[2].weight.mul_(1.2)


def by_data(memory):
    memory.model[2].weight.data = memory.model[2].weight.data * 1.2  # PyTorch counts no change


def by_loading(memory):
    memory.model.load_state_dict(network().state_dict())


@pytest.mark.parametrize("change", [by_steps_of_the_penalty, by_merging, by_data, by_loading])
@pytest.mark.parametrize("is_measured", [True, False])
def test_the_rise_is_that_of_the_weights_that_the_model_has(change, is_measured):
    memory, optimizer = learnt(strength=0.1)
    loss1 = float(loss_of_first(memory.model))
    memory.budget(0.2, absolute=0.0, samples=loss_of_first if is_measured else 0)
    go_on(memory, optimizer, 40)
    after, kept = memory.rise, copy.deepcopy(memory.model.state_dict())
    change(memory)
    found = memory.rise
    assert found.predicted != after.predicted
    if is_measured:
        assert found.measured == pytest.approx(loss_rise(memory, loss1), abs=1e-5) != pytest.approx(after.measured)
        assert str(found) in repr(memory)
    memory.model.load_state_dict(kept)
    assert memory.rise.predicted == pytest.approx(after.predicted, rel=1e-4)
    assert memory.rise.measured == (pytest.approx(after.measured, abs=1e-5) if is_measured else None)


def test_looking_at_the_rise_changes_no_training():
    ends = []
    for looks in (False, True):
        memory, optimizer = learnt(strength=0.1)
        memory.budget(0.2, absolute=0.0, samples=loss_of_first)
        go_on(memory, optimizer, 15)
        by_merging(memory)
        assert not looks or memory.rise.measured != 0
        go_on(memory, optimizer, 15)
        ends.append(memory.space.flatten(memory.model))
    assert torch.equal(*ends)


def test_a_memory_of_weights_without_a_loss_is_shown():
    memory, _ = learnt()
    memory.budget(0.2, samples=loss_of_first)
    memory.model[0].weight.data.fill_(math.nan)
    assert "budget" in repr(memory)
