"""A study of rows with one byte a weight."""

import torch
from torch import nn

import landscope as ls
from landscope.study.whole_training import problems_of_training


def recorded(path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 1))
    data = [(torch.randn(16, 6), torch.randn(16, 1)) for _ in range(4)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    study = ls.Study(path, model, nn.MSELoss(), data)
    with study.record(optimizer, encoding="delta-int8"):
        for step in range(90):
            inputs, targets = data[step % 4]
            optimizer.zero_grad()
            nn.functional.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    return study


def test_it_is_whole_and_read_like_any_other(tmp_path):
    study = recorded(tmp_path / "study")
    assert len(study.trajectory) == 90
    assert not list(problems_of_training(study.folder))
    assert ls.principal_modes(study.trajectory, 5).variance[4] > 0


def test_damage_in_a_row_in_full_names_the_steps_that_are_lost(tmp_path):
    study = recorded(tmp_path / "study")
    (file,) = (tmp_path / "study" / "trajectory" / "keys").glob("weights-000001*")
    file.write_bytes(file.read_bytes()[:-4] + b"abcd")
    (problem,) = problems_of_training(study.folder)
    assert "steps 65 to 90 of 1 to 90" in str(problem)


def test_the_whole_model_after_the_last_step_is_kept(tmp_path):
    recorded(tmp_path / "study")
    assert list((tmp_path / "study" / "checkpoints").glob("step-000000090*"))
