"""A risk with running statistics says when it is looked at around other weights than its own."""

import warnings

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import LandscopeWarning


def risk(batch_norm="kept"):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    data = (torch.randn(24, 3), torch.randint(2, (24,)))
    return ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), data, batch_norm=batch_norm)


def test_statistics_of_another_moment_are_named_once():
    landscape = risk()
    direction = torch.eye(landscape.space.dim)[:1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ls.flatness(landscape, landscape.w0, direction)
    with pytest.warns(LandscopeWarning, match=r"running statistics of the model.*study.risk\(step\)"):
        ls.flatness(landscape, 1.01 * landscape.w0, direction)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ls.flatness(landscape, 1.01 * landscape.w0, direction)


def test_re_estimated_statistics_belong_to_every_point():
    landscape = risk("re-estimated")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ls.flatness(landscape, 1.01 * landscape.w0, torch.eye(landscape.space.dim)[:1])
