import copy
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.recorder import TrajectoryRecorder
from landscope.trajectory import check_fresh, open_trajectory


def loop(model, optimizer, steps, after=lambda step, loss: None, accumulate=1):
    generator = torch.Generator().manual_seed(7)
    for step in range(steps):
        optimizer.zero_grad()
        for _ in range(accumulate):
            loss = model(torch.randn(6, 4, generator=generator)).square().mean()
            loss.backward()
        after(step, loss)
        optimizer.step()


def restore(model, path, step):
    """Load the recorded weights of a step, as a checkpoint of the user's own gives them."""
    trajectory = open_trajectory(path)
    row = trajectory.row(trajectory.steps.tolist().index(step))
    torch.nn.utils.vector_to_parameters(row, model.parameters())


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("accumulate", [1, 3])
def test_recording_changes_nothing_and_records_every_step(name, accumulate, tmp_path):
    torch.manual_seed(3)
    bare = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    watched = copy.deepcopy(bare)
    seen = []
    loop(bare, OPTIMIZERS[name](bare.parameters()), 25, accumulate=accumulate)
    optimizer = OPTIMIZERS[name](watched.parameters())
    with (
        TrajectoryRecorder(watched, optimizer, select="*.weight") as memory,
        TrajectoryRecorder(watched, optimizer, select="*.weight", path=tmp_path / "t") as disk,
    ):
        handle = optimizer.register_step_post_hook(lambda *_: seen.append(memory.space.flatten(watched)))
        loop(watched, optimizer, 25, accumulate=accumulate)
        handle.remove()
    for ours, theirs in zip(watched.parameters(), bare.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for recorder in (memory, disk):
        trajectory = recorder.trajectory()
        assert torch.equal(trajectory.weights, torch.stack(seen))
        assert trajectory.steps.tolist() == list(range(1, 26))
    assert not optimizer._optimizer_step_post_hooks


def test_loss_and_learning_rate_are_those_of_the_step():
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    noted = []
    with TrajectoryRecorder(model, optimizer) as recorder:

        def after(step, loss):
            if step % 2 == 0:
                recorder.note_loss(loss)
                noted.append(float(loss.detach()))
            if step:
                schedule.step()

        loop(model, optimizer, 6, after)
    trajectory = recorder.trajectory()
    assert trajectory.loss[::2].tolist() == pytest.approx(noted)
    assert bool(trajectory.loss[1::2].isnan().all())
    assert trajectory.learning_rate.tolist() == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])


def test_every_and_first_step():
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TrajectoryRecorder(model, optimizer, every=5, first_step=11) as recorder:
        loop(model, optimizer, 12)
    assert recorder.trajectory().steps.tolist() == [15, 20]


def test_nan_weights_stop_the_recording_and_keep_what_was_good(tmp_path):
    for path in (None, tmp_path / "t"):
        model = nn.Linear(4, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        recorder = TrajectoryRecorder(model, optimizer, path=path)

        def spoil(step, loss, model=model):
            if step == 6:
                with torch.no_grad():
                    model.weight[0, 0] = float("nan")

        with pytest.raises(ls.errors.NonFiniteError, match="step 7"), recorder:
            loop(model, optimizer, 9, spoil)
        assert recorder.trajectory().steps.tolist() == [1, 2, 3, 4, 5, 6]


def test_an_error_in_the_loop_comes_first_and_rows_are_kept():
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = TrajectoryRecorder(model, optimizer)

    def fail(step, loss):
        if step == 3:
            raise RuntimeError("the user's own")

    with pytest.raises(RuntimeError, match="the user's own"), recorder:
        loop(model, optimizer, 9, fail)
    assert len(recorder.trajectory()) == 3


@pytest.mark.filterwarnings("ignore:No recorded weight moved")
def test_memory_is_bounded_with_a_path(tmp_path):
    model = nn.Linear(1000, 100, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = TrajectoryRecorder(model, optimizer, path=tmp_path / "t")
    assert recorder._pool.rows * 100_000 * 4 <= 2**22
    with recorder:
        for _ in range(35):
            optimizer.step()
    assert recorder.trajectory().weights.shape == (35, 100_000)


def test_resuming_cuts_to_the_step_and_goes_on(tmp_path):
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TrajectoryRecorder(model, optimizer, path=tmp_path / "t"):
        loop(model, optimizer, 10)
    kept = open_trajectory(tmp_path / "t").weights[:6]
    restore(model, tmp_path / "t", 6)
    with TrajectoryRecorder(model, optimizer, path=tmp_path / "t", first_step=7, resume=True) as recorder:
        loop(model, optimizer, 3)
    trajectory = recorder.trajectory()
    assert trajectory.steps.tolist() == list(range(1, 10))
    assert torch.equal(trajectory.weights[:6], kept)


WRITER = """
    import sys, torch
    from landscope.recorder import TrajectoryRecorder
    model = torch.nn.Linear(40, 50, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    recorder = TrajectoryRecorder(model, optimizer, path=sys.argv[1])
    recorder._pool.rows = 16
    with recorder:
        step = 0
        while True:
            step += 1
            with torch.no_grad():
                model.weight.fill_(step)
            optimizer.step()
"""


def test_a_killed_writer_leaves_only_whole_rows(tmp_path):
    for number in range(2):
        path = tmp_path / f"t{number}"
        writer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITER), str(path)])
        deadline = time.monotonic() + 60
        while not (path / "committed.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3 + 0.07 * number)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        trajectory = open_trajectory(path)
        weights = trajectory.weights
        assert len(weights) > 16
        assert torch.equal(weights[:, 0], torch.arange(1, len(weights) + 1).float())
        assert torch.equal(weights[:, 0], weights[:, -1])


def test_windows_and_thinning_read_the_same_rows(tmp_path):
    rows = torch.randn(30, 4)
    memory = ls.Trajectory.of(rows, steps=torch.arange(10, 70, 2))
    part = memory.window(20, 50).thin(3)
    assert part.steps.tolist() == [20, 26, 32, 38, 44]
    assert torch.equal(part.weights, rows[5:20:3])
    assert torch.equal(torch.cat(list(part.blocks(2))), part.weights)
    assert torch.equal(part.row(-1), rows[17])
    again = part.thin(2).window(30, None)
    assert again.steps.tolist() == [32, 44]
    assert torch.equal(again.weights, rows[[11, 17]])


def test_parameter_space_round_trips():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    for select in (None, "*.weight", ["2.*", "0.bias"]):
        space = ls.ParameterSpace.of(model, select)
        w = space.flatten(model)
        assert len(w) == space.dim == sum(space.sizes)
        assert torch.equal(space.flatten(space.unflatten(w)), w)
        assert torch.equal(space.flatten(model.state_dict()), w)
    assert ls.ParameterSpace.of(model, "2.weight").names == ("2.weight",)


def test_tied_parameters_count_once_under_all_their_names():
    model = nn.ModuleDict({"a": nn.Linear(3, 3, bias=False), "b": nn.Linear(3, 3, bias=False)})
    model["b"].weight = model["a"].weight
    assert ls.ParameterSpace.of(model).dim == 9
    assert ls.ParameterSpace.of(model, "*.weight").names == ("a.weight",)


@pytest.mark.filterwarnings("ignore:No recorded weight moved")
def test_learning_rates_that_are_tensors_and_bfloat16_weights(tmp_path):
    model = nn.Linear(4, 2).to(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=torch.tensor(0.5))
    with TrajectoryRecorder(model, optimizer, path=tmp_path / "t") as recorder:
        for _ in range(3):
            optimizer.step()
            optimizer.param_groups[0]["lr"].mul_(0.5)
    trajectory = recorder.trajectory()
    assert trajectory.learning_rate.tolist() == [0.5, 0.25, 0.125]
    assert torch.equal(trajectory.row(-1).bfloat16(), recorder.space.flatten(model))


def test_mixed_precision_accumulation_and_schedules_as_a_loop_has_them():
    """A row is a step the optimiser took: not a micro-batch, and not one that the scaler skipped."""
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    seen, rates = [], []
    with ls.TrajectoryRecorder(model, optimizer) as recorder:
        for batch in range(12):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = model(torch.randn(5, 4)).float().square().mean()
            scaler.scale(loss * (torch.inf if batch == 5 else 1.0)).backward()
            if batch % 2:
                rates.append(optimizer.param_groups[0]["lr"])
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
                seen.append(recorder.space.flatten(model))
                if batch != 5:
                    schedule.step()
    path = recorder.trajectory()
    assert len(path) == 5  # of six, one was skipped
    del seen[2], rates[2]
    assert torch.equal(path.weights, torch.stack(seen))
    assert path.learning_rate.tolist() == pytest.approx(rates)


def test_the_last_rows_are_those_of_the_whole():
    torch.manual_seed(0)
    model = nn.Linear(700, 700)  # two rows a block
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def train(steps):
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.ones(2, 700)).square().mean().backward()
            optimizer.step()

    with TrajectoryRecorder(model, optimizer) as whole, TrajectoryRecorder(model, optimizer, last=5) as few:
        train(3)
        assert torch.equal(few.trajectory().weights, whole.trajectory().weights)
        train(10)
    assert torch.equal(few.trajectory().weights, whole.trajectory().weights[-5:])
    assert few.trajectory().steps.tolist() == [9, 10, 11, 12, 13]
    assert sum(map(len, few._sink._kept)) <= 5 + few._pool.rows


def test_the_last_rows_are_kept_in_memory_only(tmp_path):
    model = nn.Linear(2, 1)
    with pytest.raises(ls.errors.InputError, match="last in memory, or a path"):
        TrajectoryRecorder(model, torch.optim.SGD(model.parameters(), lr=0.1), last=5, path=tmp_path / "t")


def test_a_recorder_that_is_made_and_not_used_removes_no_rows(tmp_path):
    model, path = nn.Linear(4, 2), tmp_path / "t"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TrajectoryRecorder(model, optimizer, path=path):
        loop(model, optimizer, 10)
    waiting = TrajectoryRecorder(model, optimizer, path=path, first_step=4, resume=True)
    assert len(open_trajectory(path)) == 10
    restore(model, path, 3)
    with waiting:
        assert len(open_trajectory(path)) == 3
        loop(model, optimizer, 2)
    assert open_trajectory(path).steps.tolist() == [1, 2, 3, 4, 5]


def test_a_resumed_recording_has_no_gap(tmp_path):
    """Rows of steps 1 to 8 are there: going on at step 12 would leave out 9 to 11."""
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    path = tmp_path / "t"
    with TrajectoryRecorder(model, optimizer, path=path):
        loop(model, optimizer, 8)
    for first_step in (10, 12):
        with pytest.raises(ls.errors.InputError, match=r"at most 9, .* end with step 8"):
            TrajectoryRecorder(model, optimizer, path=path, first_step=first_step, resume=True)
    assert len(open_trajectory(path)) == 8
    with TrajectoryRecorder(model, optimizer, path=path, first_step=9, resume=True) as recorder:
        loop(model, optimizer, 2)
    assert recorder.trajectory().steps.tolist() == list(range(1, 11))


def test_rows_that_a_kill_lost_before_any_was_written_are_missed(tmp_path):
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    path = tmp_path / "t"
    killed = TrajectoryRecorder(model, optimizer, path=path).__enter__()
    loop(model, optimizer, 4)
    killed.changes.stop()
    killed._hook.remove()  # nothing was flushed: the process is gone
    with pytest.raises(ls.errors.InputError, match=r"end with step 0.*recorder.flush\(\)"):
        TrajectoryRecorder(model, optimizer, path=path, first_step=5, resume=True)
    with TrajectoryRecorder(model, optimizer, path=path, first_step=1, resume=True) as recorder:
        loop(model, optimizer, 3)
    assert recorder.trajectory().steps.tolist() == [1, 2, 3]


def test_a_resumed_recording_of_every_fifth_step_has_no_gap(tmp_path):
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    path = tmp_path / "t"
    with TrajectoryRecorder(model, optimizer, path=path, every=5):
        loop(model, optimizer, 12)  # rows at 5 and 10
    with pytest.raises(ls.errors.InputError, match="at most 15"):
        TrajectoryRecorder(model, optimizer, path=path, every=5, first_step=16, resume=True)
    with TrajectoryRecorder(model, optimizer, path=path, every=5, first_step=13, resume=True) as recorder:
        loop(model, optimizer, 8)
    assert recorder.trajectory().steps.tolist() == [5, 10, 15, 20]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (8, r"the weights of step 5, .*; got those of step 8\. Load your checkpoint of step 5 .*pass first_step=9"),
        (None, r"the weights of step 5, as recorded in .*; got other weights\. Load your checkpoint of step 5"),
    ],
)
def test_a_model_that_was_not_restored_is_not_recorded_on(step, message, tmp_path):
    model, path = nn.Linear(4, 2), tmp_path / "t"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TrajectoryRecorder(model, optimizer, path=path):
        loop(model, optimizer, 8)
    if step is None:
        nn.init.ones_(model.weight)
    recorder = TrajectoryRecorder(model, optimizer, path=path, first_step=6, resume=True)
    with pytest.raises(InputError, match=message), recorder:
        loop(model, optimizer, 1)
    assert len(open_trajectory(path)) == 8
    assert not optimizer._optimizer_step_post_hooks
    restore(model, path, 5)
    with recorder:
        loop(model, optimizer, 1)
    assert open_trajectory(path).steps.tolist() == list(range(1, 7))


@pytest.mark.filterwarnings("ignore:No recorded weight moved")
def test_weights_between_two_rows_are_not_compared_and_those_of_a_row_are(tmp_path):
    model, path = nn.Linear(4, 2).bfloat16(), tmp_path / "t"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TrajectoryRecorder(model, optimizer, path=path, every=5):
        for _ in range(10):
            optimizer.step()
    for first_step in (8, 6):  # before step 8 no row was due; float32 rows hold bfloat16 exactly
        with TrajectoryRecorder(model, optimizer, path=path, every=5, first_step=first_step, resume=True):
            optimizer.step()
    nn.init.ones_(model.weight)
    with (
        pytest.raises(InputError, match="the weights of step 5"),
        TrajectoryRecorder(model, optimizer, path=path, every=5, first_step=6, resume=True),
    ):
        pass


def test_an_optimiser_of_some_of_the_selected_weights_is_refused():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    first = torch.optim.SGD(model[0].parameters(), lr=0.1)
    with pytest.raises(InputError, match=r"every selected parameter .*; got one without 1\.weight, 1\.bias\. Select"):
        TrajectoryRecorder(model, first)
    TrajectoryRecorder(model, first, select="0.*")
    model[1].requires_grad_(False)
    with TrajectoryRecorder(model, first, select="*") as recorder:
        loop(model, first, 2)
    assert recorder.trajectory().learning_rate.tolist() == [0.1, 0.1]


def test_learning_rates_follow_an_optimiser_that_is_restored_while_recording():
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TrajectoryRecorder(model, optimizer) as recorder:
        optimizer.load_state_dict(torch.optim.SGD(model.parameters(), lr=0.5).state_dict())
        loop(model, optimizer, 2)
    assert recorder.trajectory().learning_rate.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("last", [3, 6])
def test_a_folder_that_is_deleted_while_recording_is_missed(last, tmp_path):
    model, path = nn.Linear(4, 2), tmp_path / "t"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = TrajectoryRecorder(model, optimizer, path=path)

    def delete_at_2(step, loss):
        if step == 2:
            recorder.flush()
            shutil.rmtree(path)

    with pytest.raises(ls.errors.StorageError, match=r"the table that was begun at .*; got no such folder"), recorder:
        loop(model, optimizer, last, delete_at_2)
    assert not path.exists()


class SharpnessAware(torch.optim.Optimizer):
    """Two passes a step, as the usual implementations do: step() is never called."""

    def __init__(self, parameters, lr):
        self.base_optimizer = torch.optim.SGD(parameters, lr=lr)
        super().__init__(self.base_optimizer.param_groups, {"lr": lr})
        self.param_groups = self.base_optimizer.param_groups

    def second_step(self):
        self.base_optimizer.step()


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_recorder_without_a_step_says_so(on_disk, tmp_path):
    model = nn.Linear(4, 2)
    path = tmp_path / "t" if on_disk else None
    with (
        pytest.warns(ls.errors.LandscopeWarning, match="No optimiser step was recorded.*inside the with block"),
        TrajectoryRecorder(model, torch.optim.SGD(model.parameters(), lr=0.1), path=path) as recorder,
    ):
        loop(model, torch.optim.SGD(model.parameters(), lr=0.1), 2)  # another optimiser of the same model
    with pytest.raises(ls.errors.InputError, match="at least one recorded optimiser step"):
        recorder.trajectory()


def test_a_wrapper_that_bypasses_its_own_step_is_named():
    model = nn.Linear(4, 2)
    optimizer = SharpnessAware(model.parameters(), lr=0.1)

    def train():
        for _ in range(3):
            model(torch.ones(1, 4)).sum().backward()
            optimizer.second_step()

    with pytest.warns(ls.errors.LandscopeWarning, match="base_optimizer"), TrajectoryRecorder(model, optimizer) as lost:
        train()
    with pytest.raises(ls.errors.InputError, match="base_optimizer"):
        lost.trajectory()
    with TrajectoryRecorder(model, optimizer.base_optimizer) as recorder:
        train()
    assert len(recorder.trajectory()) == 3


def test_steps_that_are_no_multiple_of_every_are_named():
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TrajectoryRecorder(model, optimizer, every=10) as recorder:
        loop(model, optimizer, 4)
    with pytest.raises(ls.errors.InputError, match="None of the steps 1 to 4 is a multiple of every=10"):
        recorder.trajectory()


def test_the_same_window_is_no_fresh_data():
    run = ls.Trajectory.of(torch.randn(40, 3).cumsum(0))
    for other in (run.window(1, 21), run.window(15, 35)):
        with pytest.raises(ls.errors.InputError, match="fresh data"):
            check_fresh(run.window(1, 21), other)
    check_fresh(run.window(1, 21), run.window(21))
    check_fresh(run.window(1, 21), ls.Trajectory.of(torch.randn(20, 3).cumsum(0)))


def test_a_resumed_recording_keeps_the_gaps_between_its_rows(tmp_path):
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TrajectoryRecorder(model, optimizer, path=tmp_path / "t", every=2):
        for _ in range(8):
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
    with pytest.raises(InputError, match="every=2, as in the rows"):
        TrajectoryRecorder(model, optimizer, path=tmp_path / "t", every=1, first_step=9, resume=True)


@pytest.mark.parametrize("ask", ["trajectory", "flush"])
def test_a_loss_that_was_noted_stays_when_rows_are_asked_for_before_its_step(ask):
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TrajectoryRecorder(model, optimizer) as recorder:
        for step in range(1, 5):
            loss = torch.tensor(float(step))
            recorder.note_loss(loss)
            loss.zero_()  # as a loop that sums its losses in place
            if step > 1:
                getattr(recorder, ask)()
            model.weight.grad = torch.randn(2, 3)
            optimizer.step()
    assert recorder.trajectory().loss.tolist() == [1, 2, 3, 4]


def test_a_row_has_no_loss_of_the_step_before():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TrajectoryRecorder(model, optimizer, every=2) as recorder:
        for step in range(1, 7):
            model.weight.grad = torch.randn(2, 3)
            if step != 4:
                recorder.note_loss(step)
            optimizer.step()
    torch.testing.assert_close(
        recorder.trajectory().loss, torch.tensor([2, torch.nan, 6], dtype=torch.float64), equal_nan=True
    )


@pytest.mark.parametrize("encoding", [None, "exact", "delta-int8"])
def test_another_default_device_does_not_take_the_rows(encoding, tmp_path):
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    settings = {} if encoding is None else {"path": tmp_path / "rows", "encoding": encoding}
    with torch.device("meta"), TrajectoryRecorder(model, optimizer, **settings) as recorder:
        for step in range(3):
            model.weight.grad = torch.ones(2, 3, device="cpu")
            recorder.note_loss(step)
            optimizer.step()
        trajectory = recorder.trajectory()
        assert trajectory.loss.tolist() == [0, 1, 2]
        assert trajectory.weights.shape == (3, 8)
    last = torch.cat([model.weight.flatten(), model.bias]).detach()
    torch.testing.assert_close(trajectory.row(-1), last, rtol=0, atol=0.1 / 250)
