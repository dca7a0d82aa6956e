"""Sinks get every number; one that fails does not end the training. The clients of services are doubles here."""

import io
import sys
import types

import pytest
from rich.console import Console

import landscope as ls
from landscope.errors import InputError, LandscopeWarning
from landscope.monitoring.sinks.terminal import TerminalSink, sparkline
from own_model import net, of, sgd, step


def monitored(to, n_steps=3, path=None, **settings):
    model = net()
    optimizer = sgd(model)
    settings = {"every": 1, "quantities": ["loss", "motion"], "batch_size": 3, **settings}
    with ls.Monitor(model, optimizer, of(model=model), to=to, path=path, **settings) as monitor:
        step(model, optimizer, times=n_steps)
    return monitor.history


def numbers(history):
    """(name, step) -> value of all that was measured."""
    return {
        (name, at): value
        for name in history.names
        for at, value in zip(*(part.tolist() for part in history.curve(name)), strict=True)
    }


def test_a_function_gets_every_number():
    got = {}
    history = monitored(lambda name, value, step: got.update({(name, step): value}))
    assert got == numbers(history)
    assert len(got) > 6


def test_tensorboard_event_files_are_read_back(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = monitored(["tensorboard"], path=tmp_path)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    for name in history.names:
        steps, values = history.curve(name)
        read = events.Scalars(name)
        assert [event.step for event in read] == steps.tolist()
        assert [event.value for event in read] == pytest.approx(values.tolist(), rel=1e-6)  # in float32


def test_a_writer_of_the_user_stays_open():
    class Writer:
        scalars, flushed, closed = {}, False, False

        def add_scalar(self, name, value, step):
            self.scalars[name, step] = value

        def flush(self):
            self.flushed = True

        def close(self):
            self.closed = True

    writer = Writer()
    history = monitored(writer)
    assert writer.scalars == numbers(history)
    assert writer.flushed
    assert not writer.closed


class Run:
    """A double of a run of W&B or trackio: the calls of their public clients that the sinks use."""

    def __init__(self):
        self.logged, self.metrics, self.finished = [], [], False

    def log(self, values, step=None):
        self.logged.append((step, values))

    def define_metric(self, name, step_metric=None):
        self.metrics.append((name, step_metric))

    def finish(self):
        self.finished = True


def client(monkeypatch, name, **parts):
    module = types.ModuleType(name)
    vars(module).update(parts)
    module.__spec__ = types.SimpleNamespace(name=name)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def test_wandb_gets_numbers_over_the_steps_of_landscope(monkeypatch, tmp_path):
    run, calls = Run(), []
    client(monkeypatch, "wandb", run=None, init=lambda **settings: calls.append(settings) or run)
    history = monitored("wandb", path=tmp_path)
    assert calls == [{"dir": str(tmp_path)}]
    assert run.finished
    assert ("landscope/*", "landscope/step") in run.metrics
    got = {
        (name.removeprefix("landscope/"), values["landscope/step"]): value
        for _, values in run.logged
        for name, value in values.items()
        if name != "landscope/step"
    }
    assert got == numbers(history)


def test_a_run_of_the_user_is_used_and_stays_open(monkeypatch):
    run = Run()
    client(monkeypatch, "wandb", run=run, init=None)
    monitored("wandb", n_steps=1)
    assert run.logged
    assert not run.finished
    given = Run()
    monitored(given, n_steps=1)
    assert given.logged[0][1]["landscope/step"] == 1
    assert not given.finished


def test_trackio(monkeypatch, tmp_path):
    run, calls = Run(), []
    client(monkeypatch, "trackio", init=lambda **settings: calls.append(settings) or run)
    history = monitored("trackio", path=tmp_path / "digits")
    assert calls == [{"project": "digits"}]
    assert run.finished
    assert {(name, at): value for at, values in run.logged for name, value in values.items()} == numbers(history)


def test_mlflow(monkeypatch, tmp_path):
    logged, ended = {}, []

    class Client:
        def __init__(self, uri):
            assert uri == f"sqlite:///{tmp_path}/mlflow.db"

        def get_experiment_by_name(self, name):
            return None

        def create_experiment(self, name):
            return "7"

        def create_run(self, experiment):
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id=f"run of {experiment}"))

        def log_batch(self, run, metrics):
            logged.update({(name, at): value for name, value, _, at in metrics})

        def set_terminated(self, run):
            ended.append(run)

    client(monkeypatch, "mlflow", MlflowClient=Client)
    client(monkeypatch, "mlflow.entities", Metric=lambda *parts: parts)
    history = monitored("mlflow", path=tmp_path)
    assert logged == numbers(history)
    assert ended == ["run of 7"]


def test_a_terminal_shows_the_last_values_and_the_largest_of_many():
    console = Console(record=True, width=100, force_terminal=True)
    sink = TerminalSink(console=console)
    for at in range(1, 4):
        sink.write(at, {"loss": 1.0 / at, **{f"drift/layer{i}": float(i) for i in range(9)}})
    sink.close()
    text = console.export_text()
    assert "0.3333" in text
    assert "drift/layer8" in text
    assert "drift/layer1" not in text
    assert "... 4 more" in text
    assert sparkline([1.0, float("nan"), 3.0]) == "▁·█"
    assert sparkline([2.0]) == "▁"


def test_a_sink_that_fails_is_left_out():
    got, calls = [], []

    def fails(name, value, step):
        calls.append(step)
        if step == 2:
            raise OSError("no space left")

    with pytest.warns(LandscopeWarning, match="fails failed at step 2.*OSError: no space left") as said:
        history = monitored([fails, lambda name, value, step: got.append((name, step))], n_steps=4)
    assert len(said) == 1
    assert max(calls) == 2
    assert set(got) == set(numbers(history))
    assert len(got) == len(numbers(history))


def test_a_sink_that_does_not_close_is_said():
    class Writer:
        def add_scalar(self, name, value, step):
            pass

        def flush(self):
            raise OSError("gone")

    with pytest.warns(LandscopeWarning, match="Writer did not close: OSError: gone"):
        monitored([Writer()])


def test_sinks_are_closed_when_another_does_not_open(monkeypatch):
    first = Run()
    client(monkeypatch, "trackio", init=lambda **_: first)

    def refused(**_):
        raise RuntimeError("not logged in")

    client(monkeypatch, "wandb", run=None, init=refused)
    model = net()
    optimizer = sgd(model)
    monitor = ls.Monitor(model, optimizer, of(model=model), batch_size=3, to=["trackio", "wandb"])
    with pytest.raises(RuntimeError, match="not logged in"), monitor:
        pass
    assert first.finished
    assert not optimizer._optimizer_step_post_hooks


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"trackio.*pip install 'landscope\[trackio\]'"):
        ls.Monitor(net(), sgd(net()), of(), batch_size=3, to="trackio")


def test_an_unknown_sink_is_refused():
    with pytest.raises(InputError, match="'tensorboard', 'wandb'"):
        ls.Monitor(net(), sgd(net()), of(), batch_size=3, to=["tensorbord"])


def test_a_table_in_a_file_ends_its_line():
    written = io.StringIO()
    sink = TerminalSink(console=Console(file=written))
    sink.write(1, {"loss": 1.0})
    sink.close()
    assert written.getvalue().endswith("┘\n")
