"""Errors for invalid arguments of the noise, the controls and the exponents."""

import math

import pytest
import torch

import landscope as ls
from landscope.directions.directions import Directions
from landscope.errors import InputError, NonFiniteError
from landscope.noise.drift import drift_law
from landscope.noise.mode_statistics import mode_statistics
from landscope.synthetic import InverseGaussian, QuadraticBowl, RandomSprings, random_walk

SPRINGS = RandomSprings.draw(torch.tensor([1.0, 2.0]), 10, seed=0)
ORIGIN, AXES = torch.zeros(2).double(), torch.eye(2).double()
LINE = torch.linspace(-1, 1, 7)


def risk():
    model = torch.nn.Linear(2, 3)
    return ls.EmpiricalRisk(model, torch.nn.CrossEntropyLoss(), (torch.randn(20, 2), torch.randint(0, 3, (20,))))


@pytest.mark.parametrize(
    "call",
    [
        lambda e, w, d: ls.noise.minibatch_ensemble(e, w, d, LINE),
        lambda e, w, d: ls.noise.active_temperature(e, w, d, LINE, learning_rate=0.1),
        lambda e, w, d: ls.noise.log_hessian(e, w, d),
        lambda e, w, d: ls.noise.gradient_noise(e, w, d),
    ],
)
class TestEveryNoiseAnalysis:
    def test_wants_minibatches(self, call):
        whole = risk()
        with pytest.raises(InputError, match=r"risk\.minibatches"):
            call(whole, whole.w0, torch.eye(9)[:2])

    def test_wants_three_of_them(self, call):
        whole = risk()
        with pytest.raises(InputError, match="at least 3 minibatches"):
            call(whole.minibatches(10), whole.w0, torch.eye(9)[:2])

    def test_checks_shapes(self, call):
        with pytest.raises(InputError, match=r"shape \[k, N\]"):
            call(SPRINGS, ORIGIN, AXES[0])
        with pytest.raises(InputError, match="directions with a last axis of 3"):
            call(SPRINGS, torch.zeros(3).double(), AXES)
        with pytest.raises(InputError, match=r"w0 of shape \[N\]"):
            call(SPRINGS, ORIGIN[None], AXES)
        with pytest.raises(InputError, match="directions as a tensor"):
            call(SPRINGS, ORIGIN, AXES.tolist())
        with pytest.raises(InputError, match="not zero"):
            call(SPRINGS, ORIGIN, 0 * AXES)

    def test_checks_numbers(self, call):
        with pytest.raises(NonFiniteError, match="w0"):
            call(SPRINGS, ORIGIN * math.nan, AXES)


def test_a_minibatch_loss_that_is_infinite_at_w0():
    endless = RandomSprings(SPRINGS.stiffness, SPRINGS.centre, SPRINGS.minimum * math.inf)
    with pytest.raises(NonFiniteError, match="10 of 10"):
        ls.noise.minibatch_ensemble(endless, ORIGIN, AXES, LINE)


def test_too_few_or_odd_displacements():
    with pytest.raises(InputError, match="at least 5"):
        ls.noise.minibatch_ensemble(SPRINGS, ORIGIN, AXES, LINE[:4])
    with pytest.raises(InputError, match="one row for each direction"):
        ls.noise.minibatch_ensemble(SPRINGS, ORIGIN, AXES, torch.zeros(3, 7))
    with pytest.raises(NonFiniteError):
        ls.noise.active_temperature(SPRINGS, ORIGIN, AXES, LINE * math.nan, learning_rate=0.1)
    with pytest.raises(InputError, match="learning_rate"):
        ls.noise.active_temperature(SPRINGS, ORIGIN, AXES, LINE, learning_rate=0.0)


def test_minibatches_of_no_whole_number_of_samples():
    with pytest.raises(InputError, match="batch_size to be an integer"):
        risk().minibatches(5.0)
    with pytest.raises(InputError, match="batch_size to be an integer"):
        risk().minibatches(True)


def test_an_ensemble_stands_for_its_risk():
    whole = risk()
    ensemble = whole.minibatches(5)
    torch.testing.assert_close(ensemble.gradient(whole.w0), whole.gradient(whole.w0), rtol=1e-4, atol=1e-7)
    first, second = (ls.directions.hessian(landscape, whole.w0, 2).values for landscape in (whole, ensemble))
    torch.testing.assert_close(first, second)


def test_sums_over_batches_whose_samples_cannot_be_told_apart():
    model = torch.nn.Linear(2, 1)

    def graphs(model, batch):
        means = torch.zeros(2, 1).index_add(0, batch["graph"], model(batch["nodes"]))
        return (means - batch["y"]).square().sum(), 2

    batches = [
        {"nodes": torch.randn(5, 2), "graph": torch.tensor([0, 0, 1, 1, 1]), "y": torch.randn(2, 1)} for _ in range(4)
    ]
    whole = ls.EmpiricalRisk.from_closure(model, graphs, batches)
    for refused in (lambda: whole.minibatches(2), lambda: whole.sample_losses(whole.w0)):
        with pytest.raises(InputError, match=r"cannot be told apart.*minibatches\(None\)"):
            refused()
    expected = torch.stack([graphs(model, batch)[0].detach() / 2 for batch in batches])
    torch.testing.assert_close(whole.minibatches(None).batch_losses(whole.w0).float(), expected)
    with pytest.raises(InputError, match="Pass the batch size, as in"):
        risk().minibatches(None)


def test_a_loss_that_is_no_sum_over_samples_is_cut_nowhere():
    def pairs(model, batch):
        return (model(batch["x"]).sum() - batch["y"].sum()).square(), len(batch["y"])

    batches = [{"x": torch.randn(4, 2), "y": torch.randn(4)} for _ in range(5)]
    whole = ls.EmpiricalRisk.from_closure(torch.nn.Linear(2, 1), pairs, batches)
    assert len(whole.minibatches(4).batch_losses(whole.w0)) == 5
    with pytest.raises(InputError, match="not the sum of the losses of its samples"):
        whole.minibatches(2)


def test_coordinates_of_an_ensemble_need_an_ensemble():
    with pytest.raises(InputError, match="an ensemble of minibatch losses"):
        ls.landscape.PreconditionedMinibatches(lambda w: w.sum(-1), torch.ones(2))


def test_minibatches_without_a_counted_target():
    y = torch.arange(20) % 3
    y[:5] = -100
    ignoring = ls.EmpiricalRisk(torch.nn.Linear(2, 3), torch.nn.CrossEntropyLoss(), (torch.randn(20, 2), y))
    with pytest.raises(InputError, match="1 of 4 with ignored targets only"):
        ignoring.minibatches(5)
    assert torch.isnan(ignoring.sample_losses(ignoring.w0)).tolist() == [True] * 5 + [False] * 15


def test_padded_batches_of_different_lengths():
    class Pooled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 3)

        def forward(self, x):
            return self.layer(x.mean(dim=1))

    batches = [(torch.randn(8, n, 2), torch.randint(0, 3, (8,))) for n in (5, 7, 4)]
    whole = ls.EmpiricalRisk(Pooled(), torch.nn.CrossEntropyLoss(), batches)
    ensemble = whole.minibatches(6, seed=0)
    found = torch.stack(list(ensemble.batch_gradients(whole.w0)))
    _, slopes = ensemble.batch_lines(whole.w0, torch.eye(9)).slopes(torch.arange(9), torch.zeros(9))
    torch.testing.assert_close(found.double(), slopes.T, rtol=1e-4, atol=1e-7)


def window(rows=40, dim=3):
    return ls.Trajectory.of(random_walk(rows, dim, seed=0))


def test_windows_that_are_too_short():
    modes = ls.principal_modes(window())
    with pytest.raises(InputError, match="at least 21 steps"):
        mode_statistics(modes, window(20))
    with pytest.raises(InputError, match="at least 4 steps"):
        ls.noise.velocity_statistics(window(3), modes)
    with pytest.raises(InputError, match="two epochs"):
        ls.surrogates.sign_flipped_epochs(window(), seed=0, steps_per_epoch=60)
    with pytest.raises(InputError, match="at least 3 rows"):
        ls.surrogates.random_walk_like(window(2), seed=0)
    with pytest.raises(InputError, match="rows of the trajectory"):
        ls.landscape.learning_dimension_over_time(window(), 50)
    thinned = ls.Trajectory.of(random_walk(300, 3, seed=0)).thin(2)
    with pytest.raises(InputError, match="a row for every step"):
        ls.noise.yaida_relation(thinned, QuadraticBowl(torch.ones(3).double()), modes, learning_rate=0.1)
    with pytest.raises(InputError, match="at least 100 steps"):
        ls.noise.yaida_relation(window(), QuadraticBowl(torch.ones(3).double()), modes, learning_rate=0.1)


def test_a_window_of_other_weights():
    modes = ls.principal_modes(window())
    for call in (
        lambda: ls.noise.velocity_statistics(window(dim=4), modes),
        lambda: mode_statistics(modes, window(dim=4)),
        lambda: ls.surrogates.ornstein_uhlenbeck(window(dim=4), modes, seed=0),
        lambda: mode_statistics(ls.directions.random(5, 2, seed=0), window()),
    ):
        with pytest.raises(InputError, match="trajectory of"):
            call()


def test_the_same_window_twice_is_no_fresh_data():
    well = InverseGaussian(torch.arange(1.0, 4).double())
    with pytest.raises(InputError, match="fresh data"):
        ls.law.InverseRelation(well, window(), window())


def test_a_mode_without_variance_is_left_out_and_counted():
    path = random_walk(60, 6, seed=0)
    path[:, 2] = 0
    still = ls.Trajectory.of(path)
    modes = Directions.of(torch.eye(6), name="axes")
    F = ls.flatness(InverseGaussian(torch.arange(1.0, 7).double()), torch.zeros(6).double(), modes.directions)
    found = ls.law.fit_exponents("x", mode_statistics(modes, still), F, (1, 6))
    assert (found.n_used, found.n_still) == (5, 1)
    assert math.isnan(found.correlation_time[2])


def test_too_few_modes_give_flagged_exponents():
    modes = ls.principal_modes(window())
    F = ls.flatness(InverseGaussian(torch.ones(3).double()), torch.zeros(3).double(), modes.directions)
    found = ls.law.fit_exponents("x", mode_statistics(modes, window()), F, (2, 3))
    assert found.n_used == 2
    assert math.isnan(found.psi)
    assert math.isnan(found.psi_tau_interval[0])


def test_controls_that_cannot_be():
    bowl = QuadraticBowl(torch.ones(3).double())
    origin = torch.zeros(3).double()
    with pytest.raises(InputError, match="temperature"):
        ls.surrogates.langevin(bowl, origin, temperature=-1, step=0.1, n_steps=10, seed=0)
    with pytest.raises(NonFiniteError, match="diverged"):
        ls.surrogates.langevin(bowl, origin, temperature=1.0, step=30.0, n_steps=400, seed=0)
    with pytest.raises(InputError, match="between 1 and 3"):
        ls.directions.hessian(bowl, origin, 4)
    with pytest.raises(InputError, match="at most 9"):
        ls.directions.gradient_noise(RandomSprings.draw(torch.ones(20), 10, seed=0), torch.zeros(20).double(), 10)
    with pytest.raises(InputError, match="between 1 and 3"):
        ls.directions.random(3, 4, seed=0)
    with pytest.raises(InputError, match="learning_rate"):
        ls.surrogates.crossover_curvature(-0.1, 100)


def test_dimensions_and_drift():
    with pytest.raises(InputError, match="between 0 and 1"):
        ls.landscape.learning_dimension(torch.ones(3), 99)
    assert math.isnan(drift_law(torch.ones(2), torch.ones(2), beta=1.0, learning_rate=0.1).ratio)
    with pytest.raises(InputError, match="a loss for each step"):
        drift_law(torch.ones(5), torch.ones(4), beta=1.0, learning_rate=0.1)
    with pytest.raises(InputError, match="positive losses"):
        drift_law(torch.arange(5.0), torch.zeros(5), beta=1.0, learning_rate=0.1)
    with pytest.raises(InputError, match="one length"):
        ls.law.errors_in_variables_exponent(torch.ones(3), torch.ones(4))


class TestOneWindow:
    def test_wants_modes_and_a_window(self):
        window = ls.Trajectory.of(torch.randn(40, 5))
        with pytest.raises(InputError, match="principal_modes"):
            ls.law.one_window_correction(torch.eye(5), window)
        with pytest.raises(InputError, match="directions of 0 rows"):
            ls.law.one_window_correction(Directions.of(torch.eye(5)), window)
        with pytest.raises(InputError, match="n_modes"):
            ls.law.one_window_correction(ls.principal_modes(window), window, 0)
        with pytest.raises(InputError, match="Expected a Trajectory"):
            ls.law.one_window_correction(ls.principal_modes(window), window.weights)
