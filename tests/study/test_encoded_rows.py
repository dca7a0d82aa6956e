"""A study of rows with one byte a weight."""

import re

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.study import saved
from landscope.study.whole_training import problems_of_training

GENERATOR = torch.Generator().manual_seed(0)
DATA = [(torch.randn(16, 6, generator=GENERATOR), torch.randn(16, 1, generator=GENERATOR)) for _ in range(4)]
SMALL = {"n_nulls": 1, "n_processes": 0, "flatness_modes": 20}


def recorded(path, encoding="delta-int8"):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    study = ls.Study(path, model, nn.MSELoss(), DATA, **SMALL)
    with study.record(optimizer, encoding=encoding):
        for step in range(90):
            inputs, targets = DATA[step % 4]
            optimizer.zero_grad()
            nn.functional.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    return study


def test_it_is_whole_and_read_like_any_other(tmp_path):
    study = recorded(tmp_path / "study")
    assert len(study.trajectory) == 90
    assert not list(problems_of_training(study.folder))
    assert ls.principal_modes(study.trajectory, 5).variance[4] > 0


def test_modes_that_move_less_than_rounding_are_said(tmp_path):
    """Four minibatches in a fixed order: the path is nearly periodic, and most modes hardly move."""
    coded, exact = (recorded(tmp_path / kind, kind) for kind in ("delta-int8", "exact"))
    for study in (coded, exact):
        study.analyse()
    (said,) = [caveat for caveat in coded._analysis.caveats if "one byte a weight" in caveat]
    assert not any("one byte a weight" in caveat for caveat in exact._analysis.caveats)
    found, wanted = (study._analysis.load(saved.SPECTRUM).variance for study in (coded, exact))
    rounding = float(re.search(r"variance of (\S+) in", said).group(1))
    assert re.search(rf"; {int((found < 10 * rounding).sum())} of the {len(found)} modes", said)
    rows, true_rows = (study._analysis.window.weights.double() for study in (coded, exact))
    error = rows - true_rows
    assert 0.8 < float(error.square().mean()) / rounding < 1.25
    # Weyl: no singular value of the rows moves by more than the largest one of the error.
    bound = torch.linalg.matrix_norm(error - error.mean(dim=0), 2) / (len(error) - 1) ** 0.5
    assert ((found.sqrt() - wanted.sqrt()).abs() <= bound).all()


def test_an_encoded_recording_is_taken_into_a_study(tmp_path):
    given = recorded(tmp_path / "given")
    study = ls.Study(tmp_path / "study", given.model, nn.MSELoss(), DATA, **SMALL)
    study.use_trajectory(given.trajectory)
    study.analyse()
    assert torch.equal(study.trajectory.weights[:-1], given.trajectory.weights[:-1])
    assert torch.equal(study.trajectory.row(-1), study.trajectory.space.flatten(given.model))
    with torch.no_grad():
        given.model[0].weight[0, 0] += 1e-3
    other = ls.Study(tmp_path / "other", given.model, nn.MSELoss(), DATA, **SMALL)
    with pytest.raises(InputError, match="the model as it was at the last row"):
        other.use_trajectory(given.trajectory)


def test_a_row_holds_the_weights_that_it_was_made_of(tmp_path):
    study = recorded(tmp_path / "study")
    rows, model = study.trajectory, study.model
    assert rows.holds(-1, rows.space.flatten(model))
    assert rows.part(slice(10, None, 2)).holds(-1, rows.row(88))
    layer = rows.of_parameters("0.weight")
    assert layer.holds(-1, model[0].weight.detach().reshape(-1))
    assert layer.scaled(torch.full((layer.dim,), 2.0)).holds(-1, 2 * model[0].weight.detach().reshape(-1))
    assert not layer.holds(-2, model[0].weight.detach().reshape(-1))
    exact = ls.Trajectory.of(rows.weights)
    assert exact.holds(3, rows.row(3))
    assert not exact.holds(3, rows.row(3) * (1 + 1e-6))


def test_damage_in_a_row_in_full_names_the_steps_that_are_lost(tmp_path):
    study = recorded(tmp_path / "study")
    (file,) = (tmp_path / "study" / "trajectory" / "keys").glob("weights-000001*")
    file.write_bytes(file.read_bytes()[:-4] + b"abcd")
    (problem,) = problems_of_training(study.folder)
    assert "steps 65 to 90 of 1 to 90" in str(problem)


def test_the_whole_model_after_the_last_step_is_kept(tmp_path):
    recorded(tmp_path / "study")
    assert list((tmp_path / "study" / "checkpoints").glob("step-000000090*"))
