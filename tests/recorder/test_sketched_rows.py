"""Rows that are sketches of the weights: in memory and on disk, resumed, watched, and refused where they are no use."""

import warnings

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError, LandscopeWarning, NonFiniteError
from landscope.sketch import CountSketch

X = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
N, SIZE = 8 * 12 + 12 + 12 * 3 + 3, 100


def training(dtype=torch.float32):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 3)).to(dtype)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def take_steps(model, optimizer, n_steps, after=lambda: None):
    for _ in range(n_steps):
        optimizer.zero_grad()
        model(X.to(next(model.parameters()).dtype)).square().mean().backward()
        optimizer.step()
        after()


def both(n_steps=12, dtype=torch.float32, **settings):
    """Weights and sketches of one training."""
    model, optimizer = training(dtype)
    with ls.TrajectoryRecorder(model, optimizer) as rows, ls.TrajectoryRecorder(model, optimizer, **settings) as sketch:
        take_steps(model, optimizer, n_steps)
    return rows.trajectory(), sketch.trajectory()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("on_disk", [False, True])
def test_rows_are_the_sketches_of_the_weights(dtype, on_disk, tmp_path):
    path = tmp_path / "rows" if on_disk else None
    rows, found = both(dtype=dtype, sketch=SIZE, path=path)
    assert found.space is None
    assert found.sketch == CountSketch(N, SIZE)
    assert torch.equal(found.weights, found.sketch(rows.weights.to(dtype)))
    assert found.weights.dtype == torch.promote_types(dtype, torch.float32)
    assert found.precision == dtype
    assert torch.equal(found.steps, rows.steps)
    assert torch.equal(found.learning_rate, rows.learning_rate)
    if on_disk:
        again = ls.open_trajectory(path)
        assert again.sketch == found.sketch
        assert torch.equal(again.weights, found.weights)


def test_a_map_of_another_seed_may_be_given():
    rows, found = both(sketch=CountSketch(N, SIZE, seed=4))
    assert torch.equal(found.weights, CountSketch(N, SIZE, seed=4)(rows.weights))


def test_bytes_of_a_row_are_those_of_a_sketch():
    model, optimizer = training()
    assert ls.TrajectoryRecorder(model, optimizer, sketch=SIZE).row_bytes == 4 * SIZE


def test_a_recording_on_disk_goes_on_only_with_the_same_map_and_weights(tmp_path):
    model, optimizer = training()
    with ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "rows", sketch=SIZE):
        take_steps(model, optimizer, 5)
    settings = {"path": tmp_path / "rows", "resume": True, "first_step": 6}
    for other in (None, SIZE + 1, CountSketch(N, SIZE, seed=1)):
        with pytest.raises(InputError, match=rf"sketch=CountSketch\(dim={N}, size={SIZE}, seed=0\)"):
            ls.TrajectoryRecorder(model, optimizer, sketch=other, **settings)
    stranger, its_own = training()
    with pytest.raises(InputError, match="weights of step 5"):
        ls.TrajectoryRecorder(stranger, its_own, sketch=SIZE, **settings).__enter__()
    with ls.TrajectoryRecorder(model, optimizer, sketch=SIZE, **settings) as recorder:
        take_steps(model, optimizer, 5)
    reference_model, reference = training()
    with ls.TrajectoryRecorder(reference_model, reference, sketch=SIZE) as whole:
        take_steps(reference_model, reference, 10)
    assert torch.equal(recorder.trajectory().weights, whole.trajectory().weights)


def test_a_recorder_may_be_entered_again_and_keeps_its_last_rows():
    model, optimizer = training()
    recorder = ls.TrajectoryRecorder(model, optimizer, sketch=SIZE, last=4)
    for _ in range(2):
        with warnings.catch_warnings(action="error"), recorder:
            take_steps(model, optimizer, 6)
    assert recorder.trajectory().steps.tolist() == [9, 10, 11, 12]


def test_changes_between_steps_and_weights_at_rest_are_said():
    model, optimizer = training()

    @torch.no_grad()
    def clip():
        for weights in model.parameters():
            weights.clamp_(-0.1, 0.1)

    with (
        pytest.warns(LandscopeWarning, match="weights changed between step 1"),
        ls.TrajectoryRecorder(model, optimizer, sketch=SIZE),
    ):
        take_steps(model, optimizer, 3, clip)
    model, optimizer = training()
    optimizer.param_groups[0]["lr"] = 0.0
    with (
        pytest.warns(LandscopeWarning, match="No recorded weight moved in 4 steps"),
        ls.TrajectoryRecorder(model, optimizer, sketch=SIZE),
    ):
        take_steps(model, optimizer, 4)


def test_weights_that_are_not_finite_end_the_recording():
    model, optimizer = training()
    recorder = ls.TrajectoryRecorder(model, optimizer, sketch=SIZE)
    recorder.begin()
    take_steps(model, optimizer, 2)
    optimizer.param_groups[0]["lr"] = float("inf")
    take_steps(model, optimizer, 1)
    with pytest.raises(NonFiniteError, match="step 3"):
        recorder.close()
    assert len(recorder.trajectory()) == 2


def test_the_training_is_the_same_with_and_without():
    model, optimizer = training()
    take_steps(model, optimizer, 5)
    recorded, its_optimizer = training()
    before = torch.get_rng_state()
    with ls.TrajectoryRecorder(recorded, its_optimizer, sketch=SIZE):
        take_steps(recorded, its_optimizer, 5)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(torch.equal, model.parameters(), recorded.parameters()))


def test_what_needs_the_weights_is_refused(tmp_path):
    model, optimizer = training()
    with ls.TrajectoryRecorder(model, optimizer, sketch=SIZE) as recorder:
        take_steps(model, optimizer, 3)
    found = recorder.trajectory()
    study = ls.Study(tmp_path / "study", model, nn.MSELoss(), (X, X[:, :3]), batch_size=10)
    for use in (
        lambda: found.of_parameters("0.weight"),
        lambda: found.model_at(2, model),
        lambda: study.use_trajectory(found),
    ):
        with pytest.raises(InputError, match=r"got sketches of weights.*second TrajectoryRecorder without sketch="):
            use()
    assert found.scaled(torch.ones(SIZE)).sketch is None
    assert found.window(2, 4).thin(2).sketch == found.sketch
    assert found.holds(-1, recorder.space.flatten(model))
    assert not found.holds(0, recorder.space.flatten(model))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sketch": N}, f"fewer numbers than the {N} weights; got {N}"),
        ({"sketch": 10}, "sketch to be an integer of at least 64"),
        ({"sketch": CountSketch(N + 1, SIZE)}, rf"a sketch of the {N} selected weights; got one of {N + 1}"),
        ({"sketch": SIZE, "encoding": "delta-int8", "path": "rows"}, r'encoding="exact" with sketch='),
    ],
)
def test_nonsense_is_refused(settings, message, tmp_path):
    if "path" in settings:
        settings = {**settings, "path": tmp_path / settings["path"]}
    with pytest.raises(InputError, match=message):
        ls.TrajectoryRecorder(*training(), **settings)
