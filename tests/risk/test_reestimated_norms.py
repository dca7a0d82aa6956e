"""Batch normalisation with statistics taken anew at every point."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscope as ls
from architectures import CLASSES, LowRank, N, Vectors, assert_untouched, prepared, state_of, structured
from landscope.errors import InputError


def test_statistics_are_kept_or_reestimated(device, monkeypatch):
    """At each point, means and variances are averaged over batches, and other layers are in eval mode."""
    model = prepared(Vectors, device)
    x, y = torch.randn(N, 4, device=device), torch.randint(0, CLASSES, (N,), device=device)
    monkeypatch.setattr("landscope.risk.prepared._NORM_ROWS", 20)  # 24 samples: two batches of 12
    batches = [(x[:12], y[:12]), (x[12:], y[12:])]
    space = ls.ParameterSpace.of(model, "first.*")
    before = state_of(model)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=12)
    risk = ls.EmpiricalRisk(model, F.cross_entropy, data, space=space, batch_norm="re-estimated")
    kept = ls.EmpiricalRisk(model, F.cross_entropy, (x, y), space=space)

    def naive(w):
        twin = copy.deepcopy(model).double().eval()
        with torch.no_grad():
            for name, value in space.unflatten(w.double()).items():
                dict(twin.named_parameters())[name].copy_(value)
            hidden = [twin.first(part.double()) for part, _ in batches]
            twin.norm.running_mean.copy_(torch.stack([h.mean(0) for h in hidden]).mean(0))
            twin.norm.running_var.copy_(torch.stack([h.var(0) for h in hidden]).mean(0))
            return float(F.cross_entropy(twin(x.double()), y))

    for scale in (1.0, 0.5, 3.0):
        w = risk.w0 * scale
        assert float(risk(w)) == pytest.approx(naive(w), rel=1e-5)
        assert float(kept(w)) != pytest.approx(naive(w), rel=1e-2)
    profile = ls.loss_profiles(risk, risk.w0, risk.w0[None], torch.tensor([0.0, 2.0]))
    assert float(profile.loss[0, 1]) == pytest.approx(naive(3 * risk.w0), rel=1e-5)
    assert_untouched(before, model)
    for landscape, name in ((risk, "re-estimated"), (kept, "kept")):
        found = ls.flatness(landscape, risk.w0, torch.randn(1, space.dim, device=device), max_displacement=0.5)
        assert found.provenance["settings"]["landscape"]["batch_norm"] == name


def test_scaling_before_a_norm_changes_nothing_with_new_statistics():
    """Re-estimated statistics remove the scale of the previous layer; kept statistics do not."""
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6, eps=1e-12), nn.Tanh(), nn.Linear(6, CLASSES))
    data, space = (torch.randn(N, 4), torch.randint(0, CLASSES, (N,))), ls.ParameterSpace.of(model, "0.weight")
    fresh = ls.EmpiricalRisk(model, F.cross_entropy, data, space=space, batch_norm="re-estimated")
    assert float(fresh(2 * fresh.w0)) == pytest.approx(float(fresh(fresh.w0)), rel=1e-6)
    kept = ls.EmpiricalRisk(model, F.cross_entropy, data, space=space)
    assert float(kept(2 * kept.w0)) != pytest.approx(float(kept(kept.w0)), rel=1e-4)


def test_new_statistics_have_no_derivatives_and_need_a_norm():
    data = (torch.randn(N, 4), torch.randint(0, CLASSES, (N,)))
    risk = ls.EmpiricalRisk(Vectors(), F.cross_entropy, data, batch_norm="re-estimated")
    with pytest.raises(InputError, match="without derivatives"):
        risk.gradient(risk.w0)
    with pytest.raises(InputError, match="running statistics"):
        ls.EmpiricalRisk(LowRank(), F.cross_entropy, data, batch_norm="re-estimated")
    assert math.isfinite(float(risk(risk.w0)))


@pytest.mark.parametrize("structure", ["tensors", "loader", "dataset", "uneven batches"])
def test_new_statistics_do_not_depend_on_how_the_data_come(structure):
    x, y = torch.randn(N, 4), torch.randint(0, CLASSES, (N,))
    model = prepared(Vectors, torch.device("cpu"))
    whole = ls.EmpiricalRisk(model, F.cross_entropy, (x, y), batch_norm="re-estimated")
    other = ls.EmpiricalRisk(model, F.cross_entropy, structured(structure, ["x"], (x,), y), batch_norm="re-estimated")
    assert float(other(other.w0)) == pytest.approx(float(whole(whole.w0)), rel=1e-9)
