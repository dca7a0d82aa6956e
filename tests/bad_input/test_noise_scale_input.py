"""What a user passes to the noise scale, and to others that take one point, by mistake."""

import pytest
import torch

import landscope as ls
from landscope.errors import InputError, LandscopeWarning
from landscope.noise import noise_scale, noise_scale_of_two_sizes
from landscope.synthetic import RandomSprings

SPRINGS = RandomSprings.draw(torch.tensor([1.0, 2.0]), 9, seed=0)


@pytest.mark.parametrize(
    ("small", "large", "said"),
    [
        ([3.0, 3.0, 3.0], torch.ones(3), "small of type Tensor; got list.*torch.tensor"),
        (torch.ones(3), 1.0, "large of type Tensor; got float"),
        (-torch.ones(3), torch.ones(3), "squared norms of at least 0 as small; got -1"),
        (torch.ones(4), torch.ones(3), "as many measurements of large as of small, 4; got 3"),
        (torch.ones(3, 2), torch.ones(3), "small as one vector"),
    ],
)
def test_squared_norms_that_are_none_are_refused(small, large, said):
    with pytest.raises(InputError, match=said):
        noise_scale_of_two_sizes(small, large, small_size=8, large_size=64)


def test_norms_in_each_others_place_are_suspected(recwarn):
    torch.manual_seed(0)
    small, large = 9 + torch.rand(8), 2 + torch.rand(8)
    sizes = {"small_size": 8, "large_size": 64}
    assert noise_scale_of_two_sizes(small, large, **sizes).value > 0
    assert noise_scale_of_two_sizes(large, large, **sizes).value == 0
    assert not recwarn
    with pytest.warns(LandscopeWarning, match="8 samples are shorter than those of 64.*in each other's place"):
        noise_scale_of_two_sizes(large, small, **sizes)


@pytest.mark.parametrize(
    "measure",
    [
        noise_scale,
        ls.landscape.batch_sharpness,
        lambda ensemble, w0: ls.landscape.learning_coefficient(
            ensemble, w0, n_samples=9, step=0.1, localisation=1.0, seed=0
        ),
        lambda ensemble, w0: ls.surrogates.langevin(ensemble, w0, temperature=1.0, step=0.1, n_steps=9, seed=0),
    ],
)
def test_a_point_is_one_vector_of_numbers(measure):
    for w0, said in (([1.0, 2.0], "w0 of type Tensor; got list"), (torch.ones(1, 2), "w0 as one vector")):
        with pytest.raises(InputError, match=said):
            measure(SPRINGS, w0)
