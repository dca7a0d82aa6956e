"""Every verdict on the springs can come out both ways: independent springs, and coupled ones."""

import torch

import landscope as ls
from landscope.claims.fig3 import spring_measurements
from landscope.claims.verdict import Control, Measurement
from landscope.noise.springs import measure_springs
from landscope.synthetic import RandomSprings, random_walk
from verdicts import verdicts


def springs(*, coupled):
    """Independent springs, or springs whose minima lie far where their loss at w0 is large."""
    flatness = torch.logspace(0, 0.6, 30, dtype=torch.float64)
    world = RandomSprings.draw(flatness, 300, seed=0)
    if coupled:
        size = torch.linspace(0.2, 2, 300, dtype=torch.float64)
        world = RandomSprings(world.stiffness, world.centre * size[:, None], world.minimum)
    origin, axes = torch.zeros(30, dtype=torch.float64), torch.eye(30, dtype=torch.float64)
    modes, window = ls.directions.Directions.of(axes, name="axes"), random_window(flatness)
    widths = ls.flatness(world, origin, axes)
    velocity = ls.noise.velocity_statistics(window, modes, 2, steps_per_epoch=20)
    found = measure_springs(world, origin, axes, widths, velocity, learning_rate=0.1, n_modes=30)
    noise, hessian = ls.noise.gradient_noise(world, origin, axes), ls.noise.log_hessian(world, origin, axes[:3])
    return spring_measurements(found, velocity, noise, hessian, (2, 30), learning_rate=0.1)


def random_window(scale):
    return ls.Trajectory.of(random_walk(400, len(scale), seed=0) / scale)


def test_the_springs_decide():
    free, bound = springs(coupled=False), springs(coupled=True)
    for key in ("minibatch_springs", "spring_flatness", "stiffness_exponent", "centre_exponent", "mean_field"):
        assert verdicts(free)[key] == "reproduced", key
    assert verdicts(bound)["mean_field"] == "not reproduced"
    assert verdicts(free)["spring_noise"] == "reproduced"
    assert verdicts(bound)["spring_noise"] == "not reproduced"


def test_noise_of_equal_strength_is_the_null_of_the_noise_strength():
    isotropic = Control("isotropic noise", (0.0, 0.0), "differ")
    assert verdicts({"psi_D": Measurement(2.1, (2.0, 2.2), (isotropic,))})["psi_D"] == "reproduced"
    assert verdicts({"psi_D": Measurement(0.0, (-0.1, 0.1), (isotropic,))})["psi_D"] == "not reproduced"
