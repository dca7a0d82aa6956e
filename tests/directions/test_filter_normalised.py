"""Filter-normalised directions against a loop over the filters."""

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.directions import filter_normalised
from landscope.errors import InputError


def test_every_filter_has_the_norm_of_that_of_the_weights_and_its_own_direction():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 4))
    space = ls.ParameterSpace.of(model)
    w0, given = space.flatten(model), ls.directions.random(space.dim, 2, seed=0)
    found = filter_normalised(given, w0, space)
    for row, plain in zip(found, given.directions, strict=True):
        for name, part in space.unflatten(row).items():
            weight, asked = space.unflatten(w0)[name], space.unflatten(plain)[name]
            for j in range(len(part)):
                if part.ndim < 2:
                    assert part[j].item() == 0.0
                else:
                    assert part[j].norm().item() == pytest.approx(weight[j].norm().item(), rel=1e-6)
                    assert nn.functional.cosine_similarity(part[j].flatten(), asked[j].flatten(), dim=0) == (
                        pytest.approx(1.0)
                    )
    risk = ls.EmpiricalRisk(model.eval(), nn.CrossEntropyLoss(), (torch.randn(9, 2, 4, 4), torch.zeros(9).long()))
    assert ls.loss_plane(risk, w0, found, torch.zeros(1), torch.ones(1)).loss.shape == (1, 1)


def test_what_does_not_fit_is_named():
    space = ls.ParameterSpace(("a.weight",), ((2, 2),))
    with pytest.raises(InputError, match="weights of 4 numbers, as the space says; got 3"):
        filter_normalised(torch.ones(1, 3), torch.ones(3), space)
    with pytest.raises(InputError, match="a parameter with filters"):
        filter_normalised(torch.ones(1, 2), torch.ones(2), ls.ParameterSpace(("a.bias",), ((2,),)))
