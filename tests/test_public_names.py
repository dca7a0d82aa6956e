"""The public names are frozen, documented, and the same for people and type checkers."""

import ast
import dataclasses
import inspect
from pathlib import Path

import pytest

import landscope as ls

NAMES = {
    "InverseRelation", "NoisyGradientDescent", "Preconditioned", "adam_preconditioner", "gradient_noise_like",
    "flatness_until_flat", "KroneckerPenalty", "PartPenalty", "PenaltySum", "curvature_constraint", "distance_penalty",
    "elastic_weight_consolidation", "flatness_from_variance", "kronecker_elastic_weight_consolidation",
    "landscape_dependent_constraint", "load_penalty", "memory_aware_synapses", "merged_penalty",
    "nearest_kronecker_penalty",
    "factored_penalty", "ProximalSteps",
    "TaskMemory",
    "ActiveTemperature", "Basis", "DriftLaw", "EmpiricalRisk", "Exponents", "Flatness", "GradientNoise",
    "LogHessian", "LossProfiles", "LyapunovResidual", "MinibatchEnsemble", "MinibatchOrder", "ModeStatistics",
    "ParameterSpace", "Phases", "PowerLaw", "PrincipalModes", "ProfileFits", "QuadraticPenalty", "Trajectory",
    "TrajectoryRecorder", "VarianceFlatnessLaw", "VelocityStatistics", "YaidaRelation", "active_temperature",
    "block_variances", "cosine_content", "crossover_curvature", "directional_curvature", "drift_law",
    "epoch_noise_time", "errors_in_variables_exponent", "fit_power_law", "fit_profiles", "flatness",
    "fit_exponents", "gradient_noise", "gradient_noise_basis", "hessian_basis", "langevin",
    "learning_dimension", "learning_dimension_over_time", "learning_phases", "load", "log_hessian",
    "loss_profiles", "lyapunov_residual", "minibatch_ensemble", "modes_along", "mode_statistics",
    "open_trajectory", "ornstein_uhlenbeck", "principal_modes", "random_basis", "random_walk_like", "save",
    "sharp_dimension", "shuffled_increments", "sign_flipped_epochs", "subspace_overlap", "variance_along",
    "variance_flatness_law", "velocity_statistics", "yaida_relation",
}  # fmt: skip


def test_public_names_are_frozen():
    assert set(ls.__all__) == NAMES


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(ls.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in block.body for alias in node.names}
    assert seen == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_public_name_says_what_it_takes_returns_and_raises(name):
    thing = getattr(ls, name)
    text = inspect.getdoc(thing)
    assert text
    if inspect.isclass(thing):
        assert "Args:" in text
        if not dataclasses.is_dataclass(thing) or name in ("ParameterSpace", "MinibatchOrder", "Trajectory"):
            assert ">>>" in text
        return
    assert ">>>" in text
    assert "Returns:" in text
    assert "Raises:" in text
    for parameter in inspect.signature(thing).parameters:
        assert f"{parameter}:" in text, parameter


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'flatnes'"):
        _ = ls.flatnes


def test_every_module_names_what_it_offers():
    for path in Path(ls.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        lines = path.read_text().count("\n")
        assert lines <= 400, f"{path} has grown to {lines} lines"
