"""Modes that never moved are rounding: they enter no fit, no count, and no null."""

import math

import pytest
import torch

import landscope as ls
from known import flatness_of, statistics_of
from landscope.directions.moving import moving, rounding_strength
from landscope.law.spectrum import modes_for_share, spectrum_exponent
from landscope.synthetic import InverseGaussian, sgd_in_bowl

MOVING, STILL = 30, 20


def dead_inputs(rows=2000):
    """A run of which twenty weights never moved: what rounding leaves there has a variance of 1e-37."""
    curvature = torch.logspace(0, 2, MOVING).double()
    path = sgd_in_bowl(curvature, rows, learning_rate=0.01, noise_variance=1.0, seed=0)
    rounding = 3e-19 * torch.randn(rows, STILL, dtype=torch.float64)
    return torch.cat([curvature, torch.full((STILL,), 5.0)]).double(), torch.cat([path, rounding], dim=1)


@pytest.fixture(scope="module")
def measured():
    curvature, path = dead_inputs()
    well, run = InverseGaussian(curvature), ls.Trajectory.of(path)
    window, fresh = run.window(1, 1001), run.window(1001)
    modes = ls.principal_modes(window)
    return window, fresh, modes, ls.flatness(well, window.row(-1), modes.directions), well


def test_the_rule_is_relative_to_the_largest_variance_of_the_window():
    assert moving(torch.tensor([1e-20, 1e-31, 1e-37])).tolist() == [True, True, False]
    assert moving(torch.tensor([1e-6, 1.0, 1e-37, 0.0])).tolist() == [True, True, False, False]
    assert not moving(torch.zeros(3)).any()
    assert moving(torch.empty(0)).shape == (0,)


def test_still_modes_enter_no_exponent(measured):
    window, fresh, modes, widths, _ = measured
    assert modes.n_moving == MOVING
    assert widths.bracketed.all()  # a flatness alone does not leave them out
    for part in (window, fresh):
        whole = ls.variance_flatness(modes, part, widths, spectrum_ranks=(2, 500))
        moved = ls.variance_flatness(modes, part, widths, (2, MOVING), spectrum_ranks=(2, MOVING))
        assert (whole.n_used, whole.n_still, whole.n_censored) == (MOVING - 1, STILL, 0)
        for name in ("psi", "psi_D", "psi_tau", "gamma", "modes_for_90_percent", "rank_correlation"):
            assert getattr(whole, name) == pytest.approx(getattr(moved, name), rel=1e-9), name
        assert whole.correlation_time[MOVING:].isnan().all()
        assert not whole.correlation_time[:MOVING].isnan().any()


def test_still_modes_enter_no_null(measured):
    window, fresh, _, _, well = measured
    null = ls.law.InverseRelation(well, window, fresh).null(seed=0)
    assert (null.n_used, null.n_still) == (MOVING - 1, STILL)


def test_small_modes_that_moved_are_kept():
    """Eleven decades below the first mode lies far above rounding."""
    variance = torch.logspace(0, -11, 12).double()
    found = ls.law.fit_exponents("x", statistics_of(variance), flatness_of(variance**-0.25), (1, 12))
    assert (found.n_used, found.n_still, found.psi) == (12, 0, pytest.approx(4.0))


def test_the_three_counts_add_up_to_the_range():
    variance = torch.tensor([1.0, 0.5, 0.2, 0.1, 1e-37, 1e-37]).double()
    widths = flatness_of(variance.clamp(min=0.01) ** -0.5)
    widths.bracketed[[2, 4]] = False
    found = ls.law.fit_exponents("x", statistics_of(variance), widths, (1, 6))
    assert (found.n_used, found.n_censored, found.n_still) == (3, 1, 2)


def test_the_spectrum_ends_where_the_motion_ends():
    variance = torch.cat([torch.arange(1.0, 21).double() ** -2, torch.full((200,), 1e-37)]).double()
    gamma, _ = spectrum_exponent(statistics_of(variance), (2, 200))
    assert gamma == pytest.approx(2.0)
    assert modes_for_share(torch.tensor([1.0, 1e-37, 1e-38]).double(), 1.0 + 1e-37, 0.9) == 1


def test_velocities_and_cosines_of_still_modes_are_unknown(measured):
    window, _, modes, _, _ = measured
    velocity, statistics = ls.noise.velocity_statistics(window, modes), ls.noise.mode_statistics(modes, window)
    for value in (velocity.correlation_time, statistics.cosine_content, statistics.drift_share):
        assert value[MOVING:].isnan().all()
        assert not value[:MOVING].isnan().any()
    assert not velocity.resolved[MOVING:].any()


def test_the_learning_dimension_counts_motion_only():
    drift_only = torch.tensor([1.0, 1e-37, 1e-37, 1e-37]).double()
    assert ls.landscape.learning_dimension(drift_only, 0.99) == 1
    with pytest.raises(ls.errors.InputError, match="did not move"):
        ls.landscape.learning_dimension(drift_only, 0.99, drift=False)
    with pytest.raises(ls.errors.InputError, match="did not move"):
        ls.landscape.learning_dimension(drift_only, 0.99, drift=False, total=1.0 + 1e-16)
    straight = torch.arange(40.0).double()[:, None] * torch.tensor([0.6, 0.8]).double()
    _, dimension, without = ls.landscape.learning_dimension_over_time(ls.Trajectory.of(straight), 20)
    assert dimension.tolist() == [1, 1]
    assert all(math.isnan(value) for value in without.tolist())


def logits_that_may_shift(rows=400):
    """Ten classes on four inputs, float32: the loss does not change where all logits shift by the same amount."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(200, 4, generator=generator)
    targets = torch.randint(10, (200,), generator=generator)
    model = torch.nn.Linear(4, 10)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ls.TrajectoryRecorder(model, optimizer) as recorder:
        for _ in range(2 * rows):
            batch = torch.randint(200, (10,), generator=generator)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs[batch]), targets[batch]).backward()
            optimizer.step()
    return recorder.trajectory()


def test_directions_without_a_gradient_walk_by_rounding_and_enter_nothing():
    """45 of the 50 weights can move; a shift of all logits, for each input and the bias, cannot."""
    run, moving_count = logits_that_may_shift(), 45
    window, fresh = run.window(401), run.window(1, 401)
    modes = ls.principal_modes(window)
    for part in (window, fresh, ls.surrogates.shuffled_increments(window, seed=0)):
        found = ls.noise.mode_statistics(modes, part)
        assert int(found.moves.sum()) == moving_count
        assert ls.noise.velocity_statistics(part, modes).correlation_time.isnan().sum() == 5
        # The variance alone does not tell: a walk by rounding grows with the window.
        assert int(moving(found.variance).sum()) >= moving_count
        rounding = rounding_strength(modes.directions, part)
        assert ((found.velocity_variance / rounding)[moving_count:] < 10).all()
        gamma, _ = spectrum_exponent(found, (2, 500))
        assert gamma == pytest.approx(spectrum_exponent(found, (2, moving_count))[0])


@pytest.mark.parametrize("precision", [torch.float32, torch.float64, torch.bfloat16])
def test_errors_of_rounding_have_the_variance_of_the_formula(precision):
    """An error is uniform within half a spacing on either side: u^2/12, with u = eps between 1 and 2."""
    generator = torch.Generator().manual_seed(0)
    exact = 1.5 + 1e-3 * torch.randn(4000, 6, generator=generator, dtype=torch.float64)
    error = exact.to(precision).double() - exact if precision != torch.float64 else torch.zeros_like(exact)
    window = ls.Trajectory.of(exact.to(precision))
    expected = torch.finfo(precision).eps ** 2 / 12
    assert rounding_strength(torch.eye(6).double(), window).tolist() == pytest.approx([expected] * 6)
    if precision == torch.float32:  # the spacing lies far below the spread, so that errors are uniform
        assert error.square().mean() == pytest.approx(expected, rel=0.05)


def test_bfloat16_weights_keep_their_precision_in_files_of_float32(tmp_path):
    model = torch.nn.Linear(3, 2).to(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "rows") as recorder:
        for _ in range(4):
            optimizer.zero_grad()
            model(torch.ones(1, 3, dtype=torch.bfloat16)).sum().backward()
            optimizer.step()
    for run in (recorder.trajectory(), ls.open_trajectory(tmp_path / "rows")):
        assert (run.row(0).dtype, run.precision) == (torch.float32, torch.bfloat16)
        assert ls.surrogates.shuffled_increments(run, seed=0).precision == torch.bfloat16
        assert (rounding_strength(torch.eye(8).double(), run) >= 1e-12).any()
