import math

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

import landscope as ls
from landscope.landscape.crossing import Crossing, find_crossing
from landscope.synthetic import InverseGaussian, QuadraticBowl
from naive import naive_side


def search(loss, *, start=0.1, limit=10.0, rtol=1e-3, target=1.0, **guess):
    """Drive one search on ln(loss(d)/loss(0))."""
    generator = find_crossing(target=target, start=start, limit=limit, rtol=rtol, **guess)
    d = next(generator)
    asked = []
    while True:
        asked.append(d)
        try:
            d = generator.send(math.log(loss(d) / loss(0.0)))
        except StopIteration as stop:
            return stop.value, asked


def width(landscape, **options):
    """The flatness of a landscape over one weight; NaN where it is not bracketed."""
    return float(ls.flatness(landscape, torch.zeros(1).double(), torch.eye(1).double(), **options).width)


@hypothesis.given(curvature=st.floats(1e-4, 1e6), minimum=st.floats(1e-8, 1e3))
@hypothesis.settings(max_examples=60, deadline=None)
def test_inverse_gaussian_has_flatness_sqrt_8_over_m(curvature, minimum):
    well = InverseGaussian(torch.tensor([curvature], dtype=torch.float64), minimum=minimum)
    assert width(well, max_displacement=1e3) == pytest.approx(math.sqrt(8 / curvature), rel=1e-3)


@hypothesis.given(curvature=st.floats(1e-3, 1e6), minimum=st.floats(1e-4, 1e1), ratio=st.floats(1.1, 20))
@hypothesis.settings(max_examples=60, deadline=None)
def test_quadratic_bowl_has_its_exact_flatness_at_any_ratio(curvature, minimum, ratio):
    bowl = QuadraticBowl(torch.tensor([curvature], dtype=torch.float64), minimum=minimum)
    assert width(bowl, ratio=ratio, max_displacement=1e5) == pytest.approx(float(bowl.flatness(ratio)), rel=1e-3)


@hypothesis.given(seed=st.integers(0, 10_000))
@hypothesis.settings(max_examples=40, deadline=None)
def test_random_smooth_lines_agree_with_scan_and_brent(seed):
    generator = torch.Generator().manual_seed(seed)
    a, b, c = torch.rand(3, generator=generator).tolist()

    def loss(d):  # dips below its start on one side, and is far from quadratic
        return 1e-3 * math.exp((0.5 - a) * d + (0.2 + b) * d**2 / (1 + c * abs(d)))

    for sign in (1, -1):
        crossing, _ = search(lambda d, s=sign: loss(s * d))
        exact = naive_side(lambda d, s=sign: loss(s * d), 10.0)
        assert crossing.displacement == pytest.approx(exact, rel=1e-3, nan_ok=True)


def test_the_nearest_crossing_counts_where_there_are_several():
    def loss(d):  # rises past e before 2, sinks again after 4, and rises for good at 10
        return math.exp(2 * math.exp(-((d - 3) ** 2) / 2) + 0.01 * d**2)

    crossing, asked = search(loss, start=6.0, limit=50.0)  # the first look lies beyond the bump
    near = naive_side(loss, 5.0)
    assert near < 2
    assert max(asked) > 10
    assert crossing.displacement == pytest.approx(near, rel=1e-3)


@pytest.mark.parametrize("expected", [0.5, 0.9, 0.999, 1.0, 1.001, 1.1, 3.0])
@pytest.mark.parametrize("slope", [-1.0, 0.01, 1.0, 100.0, math.inf, math.nan])
def test_a_wrong_guess_does_not_change_the_crossing(expected, slope):
    crossing, asked = search(
        lambda d: math.exp(d**2), expected=Crossing(expected, True, 5, slope), skip_inward_checks=True
    )
    assert crossing.displacement == pytest.approx(1.0, rel=1e-3)
    assert all(0 < d <= 10.0 for d in asked)


def test_a_good_guess_takes_two_or_three_evaluations():
    for expected in (0.99, 0.9997, 1.0, 1.0003, 1.01):
        _, asked = search(lambda d: math.exp(d**2), expected=Crossing(expected, True, 5, 1.0), skip_inward_checks=True)
        assert len(asked) == (2 if abs(expected - 1) < 7e-4 else 3)


def test_a_guess_inside_the_limit_leads_to_no_crossing_outside_it():
    crossing, asked = search(lambda d: math.exp(d**2), limit=0.9995, expected=Crossing(0.999, True, 5, 1.0))
    assert not crossing.bracketed
    assert max(asked) <= 0.9995


def test_inward_checks_are_skipped_only_on_request():
    def rise(d):
        return (d / 3) ** 2 + 1.5 * math.exp(-(((d - 1) / 0.3) ** 2)) - 1.5 * math.exp(-((1 / 0.3) ** 2))

    guess = Crossing(3.0, True, 5, 1 / 3)
    careful, _ = search(lambda d: math.exp(rise(d)), limit=50.0, expected=guess)
    assert careful.displacement < 1
    skipped, _ = search(lambda d: math.exp(rise(d)), limit=50.0, expected=guess, skip_inward_checks=True)
    assert skipped.displacement == pytest.approx(3.0, rel=1e-3)


def test_a_loss_that_dips_first_is_crossed_where_it_comes_back_up():
    def loss(d):
        return math.exp(-d + d**2)

    crossing, _ = search(loss, limit=100.0)
    assert crossing.displacement == pytest.approx((1 + math.sqrt(5)) / 2, rel=1e-3)


def test_an_infinite_loss_is_an_upper_bracket():
    crossing, _ = search(lambda d: math.inf if d > 1.5 else math.exp(d**2), start=8.0, limit=10.0)
    assert crossing.displacement == pytest.approx(1.0, rel=1e-3)
    wall, _ = search(lambda d: math.inf if d > 0.7 else 1.0, start=8.0, limit=10.0)
    assert wall.displacement == pytest.approx(0.7, rel=1e-3)


def test_a_line_that_never_rises_is_censored_not_invented():
    crossing, asked = search(lambda d: 1.0 + 1e-3 * d, limit=10.0)
    assert not crossing.bracketed
    assert math.isnan(crossing.displacement)
    assert max(asked) == 10.0
    flat = ls.flatness(lambda w: torch.ones(w.shape[:-1]), torch.zeros(2), torch.eye(2), max_displacement=5.0)
    assert flat.bracketed.tolist() == [False, False]
    assert bool(torch.isnan(flat.width).all())


def test_few_evaluations_near_a_quadratic_log_loss():
    for width in (0.01, 0.1, 1.0):
        _, asked = search(lambda d, s=width: math.exp((d / s) ** 2))
        assert len(asked) <= 8


def test_only_one_side_crossing_is_censored():
    found = ls.flatness(lambda w: torch.exp(w[..., 0]), torch.zeros(1), torch.eye(1), max_displacement=50.0)
    assert float(found.right) == pytest.approx(1.0, rel=1e-3)
    assert math.isnan(float(found.left))
    assert not bool(found.bracketed)


class TestLaws:
    @pytest.fixture
    def rotated(self):
        """A well in general position, its axes, a centre that is not a minimum, and the flatness along the axes."""
        axes = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q.T.contiguous()
        well = InverseGaussian(torch.logspace(-1, 2, 6, dtype=torch.float64), minimum=1e-3)
        landscape, w0 = (lambda w: well(w @ axes.T)), 0.05 * axes.sum(dim=0)
        return landscape, axes, w0, ls.flatness(landscape, w0, axes, max_displacement=100.0)

    def test_rotating_space_leaves_flatness_alone(self, rotated):
        landscape, axes, w0, turned = rotated
        plain = ls.flatness(lambda w: landscape(w @ axes), w0 @ axes.T, torch.eye(6).double(), max_displacement=100.0)
        assert torch.allclose(plain.width, turned.width, rtol=1e-3)

    def test_scaling_the_loss_leaves_flatness_alone(self, rotated):
        landscape, axes, w0, plain = rotated
        scaled = ls.flatness(lambda w: 8.0 * landscape(w), w0, axes, max_displacement=100.0)
        assert torch.equal(plain.width, scaled.width)  # a power of two scales floats exactly

    def test_flipping_a_direction_swaps_the_sides(self, rotated):
        landscape, axes, w0, plain = rotated
        flipped = ls.flatness(landscape, w0, -axes, max_displacement=100.0)
        assert torch.equal(plain.left, -flipped.right)
        assert torch.equal(plain.width, flipped.width)

    def test_a_direction_does_not_depend_on_the_others(self, rotated):
        landscape, axes, w0, together = rotated
        alone = [ls.flatness(landscape, w0, axis[None], max_displacement=100.0).width for axis in axes]
        assert torch.equal(together.width, torch.cat(alone))

    def test_flatness_is_in_units_of_the_direction(self, rotated):
        landscape, axes, w0, plain = rotated
        doubled = ls.flatness(landscape, w0, 2 * axes, max_displacement=50.0)
        assert torch.allclose(2 * doubled.width, plain.width, rtol=1e-3)


def test_profile_at_zero_is_the_loss_at_the_centre():
    bowl = QuadraticBowl(torch.tensor([2.0, 8.0], dtype=torch.float64), minimum=0.3)
    w0 = torch.tensor([0.1, -0.2], dtype=torch.float64)
    found = ls.loss_profiles(bowl, w0, torch.eye(2).double(), torch.linspace(-1, 1, 5))
    assert torch.equal(found.loss[:, 2], bowl(w0).expand(2))
    assert found.loss0 == float(bowl(w0))


def test_each_profile_may_have_its_own_displacements():
    bowl = QuadraticBowl(torch.tensor([2.0, 8.0]), minimum=0.0)
    found = ls.loss_profiles(bowl, torch.zeros(2), torch.eye(2), torch.tensor([[1.0, 2.0], [0.5, 1.0]]))
    assert found.loss.tolist() == [[1.0, 4.0], [1.0, 4.0]]


def test_fits_recover_both_forms():
    d = torch.linspace(-2, 1.5, 31)
    bowl = QuadraticBowl(torch.tensor([4.0], dtype=torch.float64), minimum=0.5)
    w0 = torch.tensor([0.1], dtype=torch.float64)
    fits = ls.landscape.fit_profiles(ls.loss_profiles(bowl, w0, torch.eye(1).double(), d))
    assert float(fits.curvature) == pytest.approx(4.0, rel=1e-9)
    assert float(fits.slope) == pytest.approx(0.4, rel=1e-9)
    assert float(fits.quadratic_residual) < 1e-9 < float(fits.log_residual)


def test_curvature_of_a_bowl_and_its_local_flatness():
    curvature = torch.logspace(-2, 2, 5, dtype=torch.float64)
    bowl = QuadraticBowl(curvature, minimum=1.0)
    axes = torch.eye(5).double()
    found = ls.landscape.directional_curvature(bowl, torch.zeros(5).double(), axes)
    assert torch.allclose(found, curvature)
    well = InverseGaussian(curvature, minimum=2.0)
    local = torch.sqrt(8 * 2.0 / ls.landscape.directional_curvature(well, torch.zeros(5).double(), axes))
    assert torch.allclose(local, well.flatness())
    assert ls.landscape.directional_curvature(lambda w: 3 * w.sum(-1), torch.zeros(5), axes[:1]).tolist() == [0.0]


def test_reach_belongs_to_each_direction():
    well = InverseGaussian(torch.tensor([8.0, 8e-4]), minimum=1.0)
    directions = torch.tensor([[1e-3, 0.0], [0.0, 1.0]])
    together = ls.flatness(well, torch.zeros(2), directions)
    alone = ls.flatness(well, torch.zeros(2), directions[1:])
    assert torch.equal(together.width[1:], alone.width)
    assert float(together.max_displacement[0]) == pytest.approx(1e5)


def test_large_and_tiny_losses_are_as_good_as_any():
    for minimum in (1e-200, 1e40, 1e300):
        well = InverseGaussian(torch.tensor([8.0], dtype=torch.float64), minimum=minimum)
        assert width(well) == pytest.approx(1.0, rel=1e-3)


def test_the_finest_tolerance_ends():
    well = InverseGaussian(torch.tensor([8.0], dtype=torch.float64))
    assert width(well, rtol=1e-12) == pytest.approx(1.0, rel=1e-11)
