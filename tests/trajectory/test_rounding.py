"""Updates that the floating type loses, told from weights without a gradient."""

import math

import pytest
import torch

import landscope as ls
from landscope.trajectory.rounding import held_by_rounding, rounding_caveat, spacing_of


def trained(start, update, n_rows, precision):
    """Weights that take one update at every step, in a floating type."""
    rows, weights = [], start.to(precision)
    for step in range(n_rows):
        rows.append(weights.float())
        weights = weights + update(step).to(precision)
    return ls.Trajectory.of(torch.stack(rows), precision=precision)


def noise(size, count=200):
    generator = torch.Generator().manual_seed(0)
    return lambda _: size * torch.randn(count, generator=generator)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16, torch.float32])
def test_the_spacing_is_that_of_the_next_number(precision):
    """Twin: the next floating-point number, by its bits."""
    values = torch.tensor([1.0, 1.5, 0.3, 7.0]).to(precision)
    kind = {2: torch.int16, 4: torch.int32}[values.element_size()]
    following = (values.view(kind) + 1).view(precision)
    assert torch.equal(spacing_of(values.float(), precision), following.double() - values.double())


@pytest.mark.parametrize(
    ("precision", "half"), [(torch.bfloat16, 2.0**-8), (torch.float16, 2.0**-11), (torch.float32, 2.0**-24)]
)
def test_the_share_is_that_of_normal_updates_below_half_a_spacing(precision, half):
    """At 1.5 an update of N(0, s^2) is lost where it is below u/2: erf(u/2 / s sqrt 2) of them."""
    for relative, is_held in ((0.8, True), (20.0, False)):
        found = held_by_rounding(trained(torch.full((200,), 1.5), noise(relative * half), 100, precision))
        expected = math.erf(1 / relative / math.sqrt(2))
        # 99 steps of 200 weights, independent: four standard errors, of which 0.8 leaves 0.012.
        error = 4 * math.sqrt(expected * (1 - expected) / (99 * 200))
        assert found.still == pytest.approx(expected, abs=error)
        assert found.share == (found.still if is_held else 0.0)
        assert bool(rounding_caveat(found)) == is_held
    assert half == torch.finfo(precision).eps / 2


def test_weights_without_a_gradient_are_not_held():
    mask = (torch.arange(200) % 2).float()
    window = trained(torch.full((200,), 0.1), lambda step: mask * noise(1e-3)(step), 60, torch.float32)
    found = held_by_rounding(window)
    assert (found.share, found.never) == (0.0, 0.0)
    assert found.still == pytest.approx(0.5, abs=0.01)
    assert rounding_caveat(found) == ""


def test_large_weights_that_never_move_are_held_where_small_ones_do():
    """Updates of 1e-3 move weights of 0.01 in bfloat16, whose half spacing is 3e-5, and none of 10: 0.03."""
    start = torch.cat([torch.full((100,), 0.01), torch.full((100,), 10.0)])
    found = held_by_rounding(trained(start, noise(1e-3), 60, torch.bfloat16))
    assert found.never == 0.5
    assert found.share == pytest.approx(0.5, abs=0.05)
    assert "50 % of the weights never move for it" in rounding_caveat(found)


def test_a_window_that_rests_altogether_says_what_may_hold_it():
    found = held_by_rounding(ls.Trajectory.of(torch.ones(30, 4), precision=torch.bfloat16))
    assert (found.share, found.still) == (0.0, 1.0)
    assert "no weight moves" in rounding_caveat(found)
