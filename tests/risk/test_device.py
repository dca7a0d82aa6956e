"""The same results on every device: ``pytest --device cuda`` compares a GPU with the processor."""

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.progress import QuietReporter
from landscope.reproduction.experiment.run import ExperimentRun
from landscope.reproduction.experiment.settings import Settings

SMALL = {
    "hidden": [12, 12], "batch_size": 100, "learning_rate": 0.2, "start": 20, "window_epochs": 6, "fit_modes": [2, 20],
    "spectrum_ranks": [5, 20], "flatness_modes": 20, "n_nulls": 2, "noise_modes": 8, "basis_modes": 10,
    "langevin_steps": 200, "n_processes": 1, "curvature_modes": 10, "response_modes": 3, "response_steps": 20,
    "learning_coefficient_steps": 100,
}  # fmt: skip


def test_a_run_with_all_stages(tmp_path, device):
    """Rounding separates trajectories, so the tolerance of trained weights is wide, and that of the law even wider."""
    if device.type == "cpu":
        pytest.skip("compares another device with the processor, where tests/study runs all stages: pass --device")
    found = {}
    for where in ("cpu", str(device)):
        run = ExperimentRun.create(tmp_path / where.replace(":", "-") / "run", Settings.of({**SMALL, "device": where}))
        run.analyse(QuietReporter(), until="dynamics")
        assert run.results.measurements
        found[where] = run.results.summary()
    here, there = found["cpu"], found[str(device)]
    assert there["loss_at_w0"] == pytest.approx(here["loss_at_w0"], rel=0.05)
    assert there["psi"] == pytest.approx(here["psi"], abs=0.5)


def test_every_measurement_at_given_weights(trained_digits, device):
    """The same model and weights agree to the precision of float32 losses."""
    model, data = trained_digits
    steps = torch.randn(60, 400, generator=torch.Generator().manual_seed(1)) * 1e-3
    numbers = []
    for where in (torch.device("cpu"), device):
        twin = nn.Sequential(*(type(m)(m.in_features, m.out_features, bias=False) if isinstance(m, nn.Linear) else
                               nn.ReLU() for m in model))  # fmt: skip
        twin.load_state_dict(model.state_dict())
        twin.to(where)
        space = ls.ParameterSpace.of(twin, "2.weight")
        risk = ls.EmpiricalRisk(twin, nn.CrossEntropyLoss(), tuple(part.to(where) for part in data), space=space)
        path = steps.cumsum(0)
        window = ls.Trajectory.of(risk.w0.cpu() + path - path[-1], space=space)
        modes = ls.principal_modes(window, 10)  # in main memory, wherever the model is
        widths = ls.flatness(risk, risk.w0, modes.directions)
        ensemble = risk.minibatches(50, seed=0)
        numbers.append({
            "loss": risk(window.row(-1)).cpu(),
            "gradient": risk.gradient(risk.w0).cpu().norm(),
            "width": widths.width,
            "curvature": ls.landscape.directional_curvature(risk, risk.w0, modes.directions).cpu(),
            "noise": ls.noise.gradient_noise(ensemble, risk.w0, modes.directions).covariance.diagonal().cpu(),
            "springs": ls.noise.minibatch_ensemble(
                ensemble, risk.w0, modes.directions[:3], torch.linspace(-0.1, 0.1, 5)).r_squared.nanmedian(),
            "hessian": ls.directions.hessian(risk, risk.w0, 3).values,
            "psi": torch.tensor(ls.law.measure_exponents("", risk, risk.w0, window, fit_modes=(2, 10)).psi),
        })  # fmt: skip
    for name, value in numbers[0].items():
        torch.testing.assert_close(numbers[1][name].double(), value.double(), rtol=2e-3, atol=1e-9, msg=name)


def test_the_recorder_brings_rows_home(device):
    model = nn.Linear(3, 2).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ls.TrajectoryRecorder(model, optimizer) as recorder:
        for _ in range(4):
            optimizer.zero_grad()
            model(torch.randn(5, 3, device=device)).square().mean().backward()
            optimizer.step()
    path = recorder.trajectory()
    assert path.weights.device.type == "cpu"
    assert torch.equal(path.row(-1), recorder.space.flatten(model).cpu())
