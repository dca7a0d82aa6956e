"""Averaged weights as w0: flatness about them, along the directions of the window, against a parabola."""

import math
import shutil
import warnings

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import damages
import landscope as ls
from landscope.errors import InputError, StorageError
from landscope.law import InverseRelation
from landscope.study.centre import CENTRE as FILE
from landscope.study.centre import GIVE_AGAIN
from landscope.study.check import check_study

SCALE = torch.tensor([1.0, 1.5, 2.0, 3.0, 4.0])
CENTRE = torch.tensor([0.5, -1.0, 0.0, 2.0, 1.0])
L0, N_STEPS = 0.25, 90
DATA = (
    torch.cat([math.sqrt(10) * torch.diag(SCALE), torch.zeros(5, 5)]),
    torch.cat([math.sqrt(10) * SCALE * CENTRE, math.sqrt(2 * L0) * torch.ones(5)])[:, None],
)
"""Ten samples: L = sum_i s_i^2 (w_i - c_i)^2 + L0, so H_ii = 2 s_i^2; L0 is that of five samples that see no input."""
CRITERION = nn.MSELoss()
SETTINGS = {"n_nulls": 0, "n_processes": 0, "fit_modes": (1, 5), "spectrum_ranks": (1, 5), "rtol": 1e-6}


def wander(model, step_done=None):
    """Steps of any sizes, for a path of known rows."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)

    def train():
        for _ in range(N_STEPS):
            pull = 0.2 * (model.weight.detach() - CENTRE)
            model.weight.grad = pull + 0.1 * torch.randn(1, 5, generator=generator) / SCALE
            optimizer.step()
            if step_done is not None:
                step_done(model)

    return optimizer, train


def start():
    model = nn.Linear(5, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(CENTRE + 0.3)
    return model


def recorded(folder, **settings):
    model = start()
    study = ls.Study(folder, model, CRITERION, DATA, **SETTINGS, **settings)
    optimizer, train = wander(model)
    with study.record(optimizer):
        train()
    return study


def widths(directions, w0):
    """F = 2 sqrt(delta^2 + 2 (e - 1) L(w0)/h) along p, with h = p'Hp and delta = p'H (w0 - c)/h."""
    p, away, hessian = directions.double(), w0.double() - CENTRE.double(), 2 * SCALE.double().square()
    loss = float((hessian * away.square()).sum()) / 2 + L0
    h = p.square() @ hessian
    return 2 * ((p @ (hessian * away) / h).square() + 2 * (math.e - 1) * loss / h).sqrt()


def test_the_mean_of_the_window(tmp_path):
    study = recorded(tmp_path / "s", w0="mean", window=(50, 90))
    study.analyse(until="law", progress=False)
    rows = study.trajectory.weights[49:90].double()
    assert study.risk().w0.double().tolist() == pytest.approx(rows.mean(0).tolist(), abs=1e-6)
    expected = widths(study.modes.directions, rows.mean(0))
    assert study.flatness.width.tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    assert study.flatness.width.tolist() != pytest.approx(widths(study.modes.directions, rows[-1]).tolist(), rel=1e-3)
    # psi is the slope of the variance in the window on these widths; the directions and variances are the window's.
    variance = ((rows - rows.mean(0)) @ study.modes.directions.double().T).square().mean(0)
    x, y = expected.log(), variance.log()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    in_sample = ls.load(study.path / "exponents-in-sample.zarr.zip")
    assert in_sample.psi == pytest.approx(-slope.item(), rel=1e-3)
    assert any("w0 is the mean of the window" in caveat for caveat in study.summary()["caveats"])
    assert study.risk(90).w0.tolist() == study.trajectory.row(-1).tolist()


@pytest.mark.parametrize("form", ["averaged model", "state dict", "file"])
def test_averaged_weights_that_are_given(tmp_path, form):
    model, centre = start(), torch.tensor([[0.6, -0.9, 0.2, 2.1, 0.8]])
    average = AveragedModel(model)
    average.module.weight.data.copy_(centre)
    torch.save({"model": average.module.state_dict()}, tmp_path / "ema.pt")
    w0 = {"averaged model": average, "state dict": {"weight": centre}, "file": str(tmp_path / "ema.pt")}[form]
    study = recorded(tmp_path / "s", w0=w0)
    study.analyse(until="flatness", progress=False)
    assert study.risk().w0.tolist() == centre[0].tolist()
    expected = widths(study.modes.directions, centre[0])
    assert study.flatness.width.tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    again = ls.Study(tmp_path / "s", start(), CRITERION, DATA)
    assert again.risk().w0.tolist() == centre[0].tolist()
    with pytest.raises(StorageError, match="w0: given"):
        ls.Study(tmp_path / "s", start(), CRITERION, DATA, w0="last")
    with pytest.raises(StorageError, match="w0: given"):
        ls.Study(tmp_path / "s", start(), CRITERION, DATA, w0={"weight": centre + 1})


@pytest.fixture(scope="module")
def of_an_average(tmp_path_factory):
    """A study about weights that were given, analysed up to the flatness."""
    study = recorded(tmp_path_factory.mktemp("average") / "s", w0={"weight": torch.full((1, 5), 0.5)})
    study.analyse(until="flatness", progress=False)
    return study.path


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("deleted", "missing"),
        ("emptied", "a file without a checksum at its end"),
        ("flipped", "bytes that do not fit the checksum at its end"),
        ("replaced", "another model than the one that was given as w0"),
    ],
)
def test_a_given_model_that_is_lost_is_named_and_given_again(of_an_average, tmp_path, damage, problem):
    place = shutil.copytree(of_an_average, tmp_path / "s")
    other = ls.Study(tmp_path / "other", start(), CRITERION, DATA, w0={"weight": torch.full((1, 5), 0.6)}).path
    wanted = damages.digests(place)
    assert damages.damaged(place / FILE, damage, other / FILE)
    (found,) = check_study(place)
    assert (found.file, found.problem, found.remedy) == (FILE, problem, GIVE_AGAIN)
    (place / "flatness.zarr.zip").unlink()
    with pytest.raises(StorageError, match=r"ls.Study\(..., w0=...\)|compute the result again"):
        ls.Study(place, start(), CRITERION, DATA).analyse(until="flatness", progress=False)
    again = ls.Study(place, start(), CRITERION, DATA, w0={"weight": torch.full((1, 5), 0.5)})
    again.analyse(until="flatness", progress=False)
    assert check_study(place) == []
    assert damages.digests(place) == wanted


@pytest.mark.parametrize(
    ("w0", "message"),
    [
        ("nowhere.pt", "w0 as 'last', 'mean', a model"),
        (torch.zeros(4), r"a vector of the 5 weights of weight for w0; got a tensor of \(4,\)"),
        (3, "got int"),
        ({"other": torch.zeros(1)}, "a checkpoint of this model for w0"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, w0, message):
    with pytest.raises(InputError, match=message):
        ls.Study(tmp_path / "s", start(), CRITERION, DATA, w0=w0)
    assert not (tmp_path / "s").exists()


def test_a_memory_holds_the_average(tmp_path):
    model, centre = start(), torch.tensor([[0.6, -0.9, 0.2, 2.1, 0.8]])
    memory = ls.TaskMemory(model, method=ls.memory.LDC(floor=False), n_modes=3)
    optimizer, train = wander(model)
    with memory.training(optimizer):
        train()
    last = model.weight.detach().clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        held = memory.consolidate(CRITERION, DATA, w0={"weight": centre})
    assert torch.equal(model.weight, last)
    assert held.anchor.tolist() == centre[0].tolist()
    assert held.stiffness.tolist() == pytest.approx(widths(held.directions, centre[0]).pow(-2).tolist(), rel=1e-2)


def test_the_inverse_relation_about_an_average():
    model, rows = start(), []
    _, train = wander(model, lambda model: rows.append(model.weight.detach()[0].clone()))
    train()
    run = ls.Trajectory.of(torch.stack(rows))
    window, fresh, w0 = run.part(slice(45, 90)), run.part(slice(0, 45)), torch.stack(rows[45:]).mean(0)
    with torch.no_grad():
        model.weight.copy_(w0)
    risk = ls.EmpiricalRisk(model, CRITERION, DATA)
    own = InverseRelation(risk, window, fresh, (1, 5), w0=risk.w0, rtol=1e-6).in_sample()
    assert own.width.tolist() == pytest.approx(widths(ls.principal_modes(window).directions, w0).tolist(), rel=1e-4)
    with pytest.raises(InputError, match=r"pass w0=risk\.w0"):
        InverseRelation(risk, window, fresh, (1, 5))
