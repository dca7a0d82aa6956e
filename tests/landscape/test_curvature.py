"""Second differences: the curvature that a walk sees, with kinks and with the second derivative of a bowl."""

import torch

from known import flatness_of
from landscope.directions import Directions
from landscope.landscape.curvature import directional_curvature, near_profiles, second_differences
from landscope.synthetic import QuadraticBowl


def curvature_of(landscape, widths):
    axes = Directions.of(torch.eye(len(widths)).double())
    profiles = near_profiles(landscape, torch.zeros(len(widths)).double(), axes, flatness_of(widths))
    return profiles, second_differences(profiles)


def test_in_a_bowl_it_is_the_second_derivative():
    bowl, widths = QuadraticBowl(torch.tensor([2.0, 8.0]).double(), minimum=1.0), torch.tensor([1.0, 0.5]).double()
    _, found = curvature_of(bowl, widths)
    exact = directional_curvature(bowl, torch.zeros(2).double(), torch.eye(2).double())
    # Eight roundings of 1.1e-16 of losses of about 1, over the square of the smaller distance, 1e-2.
    torch.testing.assert_close(found, exact, rtol=0, atol=8 * 1.1e-16 / 1e-4)


def test_a_kink_counts_as_a_walk_of_that_length_feels_it():
    """L = 1 + sum |w_i|: the second difference over delta is 2/delta, and every derivative beside 0 is none."""
    profiles, found = curvature_of(lambda w: 1 + w.abs().sum(-1), torch.tensor([0.5, 2.0]).double())
    distances = torch.tensor([0.01, 0.04], dtype=torch.float64)
    torch.testing.assert_close(profiles.displacements[:, 2], distances, rtol=1e-15, atol=0)
    # Four roundings of 1.1e-16 of losses of about 1, over the smaller distance.
    torch.testing.assert_close(found, 2 / distances, rtol=4 * 1.1e-16 / 0.01, atol=0)


def test_without_a_flatness_the_distance_is_that_of_a_flatness_of_one():
    profiles, _ = curvature_of(QuadraticBowl(torch.ones(2).double()), torch.tensor([1.0, float("nan")]).double())
    assert profiles.displacements.tolist() == [[-0.02, 0.0, 0.02]] * 2
