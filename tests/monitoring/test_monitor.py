"""A monitor changes nothing, and its numbers are those that the public functions give afterwards."""

import contextlib
import copy
import math
import warnings

import pytest
import torch
from torch import nn

import landscope as ls
from failing_disk import FailingDisk
from landscope.errors import InputError, LandscopeWarning, StorageError
from landscope.landscape import batch_sharpness
from landscope.monitoring.monitor import HISTORY_FILE
from landscope.monitoring.quantities import QUANTITIES, SHARPNESS_RTOL
from landscope.noise.scale import noise_scale

G = torch.Generator().manual_seed(0)
X = torch.randn(48, 5, generator=G)
Y = (X[:, 0] + X[:, 1] > 0).long()
LOSS = nn.CrossEntropyLoss()
N_SAMPLES, BATCH, SEED = 40, 8, 3


def network():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.1), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2)
    )


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)


def train(model, optimizer, n_steps, after=lambda step: None):
    """A training with dropout, so that it draws random numbers itself."""
    for step in range(1, n_steps + 1):
        rows = torch.randint(len(X), (BATCH,))
        optimizer.zero_grad()
        LOSS(model(X[rows]), Y[rows]).backward()
        optimizer.step()
        after(step)


def monitor_of(model, optimizer, **settings):
    risk = ls.EmpiricalRisk(model, LOSS, (X, Y), space=settings.pop("space", None))
    return ls.Monitor(model, optimizer, risk, **{"batch_size": BATCH, "n_samples": N_SAMPLES, "seed": SEED, **settings})


@pytest.fixture(scope="module")
def run():
    """A monitored training, the models after its steps, and its recorded weights."""
    model, models = network(), {}
    optimizer = sgd(model)
    recorder = ls.TrajectoryRecorder(model, optimizer)
    with recorder, monitor_of(model, optimizer, every={**dict.fromkeys(QUANTITIES, 2), "motion": 1}) as monitor:
        train(model, optimizer, 12, lambda step: models.update({step: copy.deepcopy(model)}))
    return monitor, models, recorder.trajectory()


def curve(history, name):
    steps, values = history.curve(name)
    return dict(zip(steps.tolist(), values.tolist(), strict=True))


def test_numbers_are_those_computed_afterwards(run):
    monitor, models, trajectory = run
    history = monitor.history
    for step in (2, 6, 12):
        risk = ls.EmpiricalRisk(models[step], LOSS, (X, Y)).random_subset(N_SAMPLES, seed=SEED)
        ensemble, w = risk.minibatches(BATCH, seed=SEED), trajectory.row(step - 1)
        assert torch.equal(w, risk.w0)
        sharpness = ls.directions.hessian(risk, w, 1, rtol=SHARPNESS_RTOL, seed=SEED).values
        afterwards = {
            "loss": float(risk(w)),
            "sharpness": float(sharpness[0]),
            "batch_sharpness": batch_sharpness(ensemble, w).value,
            "noise_scale": noise_scale(ensemble, w).value,
            "edge": 30.0,  # 2 (1 + 0.5)/0.1
            "noise_edge": 10.0,
        }
        for name, value in afterwards.items():
            assert curve(history, name)[step] == pytest.approx(value, rel=1e-6), name


def test_motion_and_temperature_are_those_of_the_recorded_weights(run):
    monitor, models, trajectory = run
    history, stream, motion = monitor.history, ls.directions.StreamingModes(4), None
    for step in range(1, 13):
        motion = motion or ls.noise.LayerMotion(monitor._measurements.space)
        motion.add(step, trajectory.row(step - 1))
        changed = stream.add(trajectory.row(step - 1))
        for name, value in {f"drift/{k}": v for k, v in motion.drift.items()}.items():
            assert step < 3 or curve(history, name)[step] == pytest.approx(value, rel=1e-9)
        assert step < 3 or curve(history, "diffusion/4")[step] == pytest.approx(motion.diffusion["4"], rel=1e-9)
        if changed:
            assert curve(history, "variance/mode_1")[step] == pytest.approx(float(stream.variance[0]), rel=1e-9)
        if step in (4, 8, 10):
            risk = ls.EmpiricalRisk(models[step], LOSS, (X, Y)).random_subset(N_SAMPLES, seed=SEED)
            noise = ls.noise.gradient_noise(
                risk.minibatches(BATCH, seed=SEED), risk.w0, stream.directions(risk.w0)
            ).temperature(0.1)
            found = [curve(history, f"temperature/mode_{rank}")[step] for rank in range(1, len(noise) + 1)]
            assert found == pytest.approx(noise.tolist(), rel=1e-5)
    modes = ls.principal_modes(trajectory, 2)  # eleven directions, of which twelve are kept
    keep = ls.directions.StreamingModes(4, memory=None)
    for row in trajectory.weights:
        keep.add(row)
    assert torch.allclose(keep.modes().values[:2], modes.values, rtol=1e-6)


@pytest.mark.parametrize("how", [{"every": 1}, {"budget": 0.9}])
@pytest.mark.filterwarnings("ignore:There was no time")
def test_the_training_is_the_same_without_it(how):
    def trained(monitored):
        model = network()
        optimizer = sgd(model)
        if not monitored:
            train(model, optimizer, 9)
        else:
            with monitor_of(model, optimizer, **how):
                train(model, optimizer, 9)
        return model, optimizer, torch.get_rng_state()

    (plain, first, state), (watched, second, after) = trained(False), trained(True)
    assert torch.equal(state, after)
    assert watched.training
    for (name, value), other in zip(plain.state_dict().items(), watched.state_dict().values(), strict=True):
        assert torch.equal(value, other), name
    for one, other in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
        assert one.requires_grad == other.requires_grad
    assert not second._optimizer_step_post_hooks
    assert not first._optimizer_step_post_hooks


def test_weights_that_are_not_selected_are_those_of_the_step():
    model, models = network(), {}
    optimizer = sgd(model)
    space = ls.ParameterSpace.of(model, "6.*")
    with monitor_of(model, optimizer, every=2, quantities=["loss"], space=space) as monitor:
        train(model, optimizer, 4, lambda step: models.update({step: copy.deepcopy(model)}))
    for step, value in curve(monitor.history, "loss").items():
        risk = ls.EmpiricalRisk(models[step], LOSS, (X, Y)).random_subset(N_SAMPLES, seed=SEED)
        assert value == pytest.approx(float(risk(risk.w0)), rel=1e-6)
        assert value != pytest.approx(float(monitor._measurements._following.risk(risk.w0[-10:])), rel=1e-3)


class Clock:
    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now


def test_the_share_of_the_time_stays_within_the_budget(monkeypatch):
    clock, seconds = Clock(), {"loss": 0.02, "noise_scale": 0.1, "motion": 0.01}
    monkeypatch.setattr("landscope.monitoring.monitor.time", clock)
    model = network()
    optimizer = sgd(model)

    def after(step):
        clock.now += 0.1
        if step > 200:  # all three were measured, and paid back
            assert monitor.share <= 0.05 * (1 + 1e-9)

    with monitor_of(model, optimizer, quantities=list(seconds)) as monitor:
        for name, quantity in monitor._measurements.quantities.items():
            measure = quantity.measure

            def taking(point, measure=measure, name=name):
                clock.now += seconds[name]
                return measure(point)

            monkeypatch.setattr(quantity, "measure", taking)
        train(model, optimizer, 400, after)
    assert 0.045 < monitor.share <= 0.05 * (1 + 1e-9)
    assert {"loss", "noise_scale", "drift/0"} <= set(monitor.history.names)


def test_what_there_was_no_time_for_is_said(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("landscope.monitoring.monitor.time", clock)
    model = network()
    optimizer = sgd(model)
    monitor = monitor_of(model, optimizer, quantities=["loss", "sharpness"])
    loss = monitor._measurements.quantities["loss"]
    monkeypatch.setattr(loss, "measure", lambda point: setattr(clock, "now", clock.now + 2) or {"loss": 1.0})
    with pytest.warns(LandscopeWarning, match=r"no time to measure sharpness \(about 3e\+02 s\).*n_samples"), monitor:
        train(model, optimizer, 3, lambda step: setattr(clock, "now", clock.now + 1))


def test_a_quantity_that_fails_is_left_out(monkeypatch):
    model = network()
    optimizer = sgd(model)

    def fails(point):
        raise RuntimeError("out of memory")

    with monitor_of(model, optimizer, every=1, quantities=["loss", "noise_scale"]) as monitor:
        monkeypatch.setattr(monitor._measurements.quantities["noise_scale"], "measure", fails)
        with pytest.warns(
            LandscopeWarning, match="noise_scale failed at step 1, and is left out: RuntimeError"
        ) as said:
            train(model, optimizer, 3)
    assert len(said) == 1
    assert monitor.history.names == ("loss",)
    assert len(monitor.history.steps) == 3


def test_weights_that_diverge_are_said_once_and_the_training_goes_on():
    model = network()
    optimizer = sgd(model)
    with monitor_of(model, optimizer, every=1, quantities=["loss"]) as monitor:
        train(model, optimizer, 1)
        with torch.no_grad():
            model[0].weight.fill_(math.nan)
        with pytest.warns(LandscopeWarning, match="loss of step 2 is missing") as said:
            train(model, optimizer, 3)
    assert len(said) == 1
    assert monitor.step == 4
    assert monitor.history.steps.tolist() == [1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_training_keeps_its_numbers(error, tmp_path):
    model = network()
    optimizer = sgd(model)

    def interrupt(step):
        if step == 3:
            raise error

    with pytest.raises(error), monitor_of(model, optimizer, every=1, quantities=["loss"], path=tmp_path) as monitor:
        train(model, optimizer, 5, interrupt)
    assert not optimizer._optimizer_step_post_hooks
    assert ls.load(tmp_path / HISTORY_FILE).steps.tolist() == monitor.history.steps.tolist() == [1, 2, 3]
    train(model, optimizer, 1)
    assert monitor.step == 3


def test_a_history_is_kept_when_the_training_goes_on(tmp_path):
    model = network()
    optimizer = sgd(model)
    settings = {"every": 2, "quantities": ["loss"], "path": tmp_path}
    with monitor_of(model, optimizer, **settings) as monitor:
        train(model, optimizer, 6)
    with pytest.raises(StorageError, match="first_step="):
        monitor_of(model, optimizer, **settings)
    with monitor_of(model, optimizer, first_step=4, **settings) as again:
        train(model, optimizer, 5)
    assert again.history.steps.tolist() == [2, 4, 6, 8]
    assert curve(again.history, "loss")[2] == curve(monitor.history, "loss")[2]
    loaded = ls.load(tmp_path / HISTORY_FILE)
    assert torch.equal(loaded.values, again.history.values)
    assert loaded.names == ("loss",)


def test_often_measured_quantities_are_measured_less_often(monkeypatch):
    monkeypatch.setattr("landscope.monitoring.measurements._POINTS", 4)
    model = network()
    optimizer = sgd(model)
    with monitor_of(model, optimizer, budget=0.999, quantities=["loss"]) as monitor:
        monkeypatch.setattr(monitor._budget, "next", lambda ready: next(iter(ready), None))
        train(model, optimizer, 32)
    assert monitor.history.steps.tolist() == [1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 28, 32]


def test_it_is_entered_once():
    model = network()
    optimizer = sgd(model)
    monitor = monitor_of(model, optimizer, every=1, quantities=["loss"])
    with pytest.warns(LandscopeWarning, match="No optimiser step was seen"), monitor:
        pass
    with pytest.raises(InputError, match="entered once"), monitor:
        pass


def test_the_running_modes_and_the_picture(run):
    monitor, *_ = run
    assert monitor.modes.name == "running principal modes"
    assert monitor.modes.n_steps == 12
    figure = monitor.plot()
    names = {trace.name for trace in figure.data}
    assert {"loss", "batch sharpness", "edge of stability", "mode 1", "layer 4"} <= names
    assert [axis.title.text for axis in figure.select_yaxes()][:2] == ["loss", "curvature"]


def test_a_history_without_numbers_draws_nothing():
    model = network()
    figure = monitor_of(model, sgd(model), every=5).plot()
    assert not figure.data
    assert "nothing was measured" in figure.layout.xaxis.title.text


def test_other_processes_measure_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("landscope.monitoring.monitor.is_first_process", lambda: False)
    model = network()
    optimizer = sgd(model)
    with monitor_of(model, optimizer, every=1, to=[print], path=tmp_path) as monitor:
        assert not optimizer._optimizer_step_post_hooks
        train(model, optimizer, 2)
    assert not len(monitor.history.steps)
    assert not list(tmp_path.iterdir())


def test_a_model_in_parts_is_refused(monkeypatch):
    monkeypatch.setattr("landscope.monitoring.measurements.has_parts", lambda model: True)
    model = network()
    with pytest.raises(InputError, match=r"as a whole.*FSDP2"):
        monitor_of(model, sgd(model))


def test_a_risk_on_another_device_is_refused():
    model = network()
    risk = ls.EmpiricalRisk(model, LOSS, (X, Y))
    with pytest.raises(InputError, match=r"Make the risk after model\.to"):
        ls.Monitor(model.to("meta"), sgd(model), risk, batch_size=BATCH)


@pytest.mark.parametrize("error", [None, ValueError])
def test_a_full_disk_ends_no_training_and_hides_no_error(error, tmp_path):
    model = network()
    optimizer = sgd(model)

    def end(step):
        if step == 3 and error is not None:
            raise error

    monitor = monitor_of(model, optimizer, every=1, quantities=["loss"], path=tmp_path)
    ends = contextlib.nullcontext() if error is None else pytest.raises(error)
    with warnings.catch_warnings(record=True) as said, ends, FailingDisk(tmp_path), monitor:
        warnings.simplefilter("always")
        train(model, optimizer, 3, end)
    (message,) = [str(warning.message) for warning in said]
    assert "not written: StorageError" in message
    assert "No space left" in message
    assert "ls.save(monitor.history, path)" in message
    assert monitor.history.steps.tolist() == [1, 2, 3]


def test_a_path_that_cannot_be_a_folder_is_refused_before_the_training(tmp_path):
    model, taken = network(), tmp_path / "file"
    taken.write_text("")
    with pytest.raises(StorageError, match=r"a folder at .*file; got File exists"):
        monitor_of(model, sgd(model), every=1, path=taken)


def test_a_history_without_numbers_says_so():
    model = network()
    with pytest.raises(InputError, match=r"a history with measurements; got an empty one.*with block"):
        monitor_of(model, sgd(model), every=5).history.curve("loss")
