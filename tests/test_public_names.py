"""The public names are frozen, documented, and the same for people and type checkers."""

import ast
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
import typing
from pathlib import Path

import pytest

import landscope as ls

FROZEN = {
    "landscope": """
        EmpiricalRisk Monitor NegativeLogLikelihood ParameterSpace ProximalSteps Study TaskMemory Trajectory
        TrajectoryRecorder directions flatness keep landscape law load loss_plane loss_profiles memory monitoring noise
        open_trajectory penalties plots principal_modes save study surrogates synthetic variance_flatness
    """,
    "landscope.directions": """
        Directions ModesOverTraining StreamingModes filter_normalised gauss_newton gradient_noise hessian
        log_spaced_ranks modes_over_training moving principal_modes principal_variances random subspace_overlap
    """,
    "landscope.landscape": """
        Basin BatchSharpness Diagonal Flatness InvariantFlatness LearningCoefficient LossForms LossInterpolation
        LossPlane LossProfiles Preconditioned PreconditionedMinibatches ProfileFits SpectralDensity Trace
        adam_preconditioner align_units basin batch_sharpness diagonal directional_curvature fit_profiles flatness
        flatness_until_flat invariant_flatness layer_scale learning_coefficient learning_dimension
        learning_dimension_over_time loss_between loss_forms loss_plane loss_profiles sharp_dimension
        sharp_dimension_is_bound spectral_density trace
    """,
    "landscope.law": """
        Equilibrium Exponents InverseRelation OneWindow PowerLaw RunLimit WindowLimit equilibrium
        errors_in_variables_exponent fit_exponents fit_power_law measure_exponents one_window_correction
        run_limit variance_flatness window_limit
    """,
    "landscope.memory": """
        Basin Budget EWC Gaussians Generated Interpolation KFAC L2 LDC MAS METHODS Method Replay Rise Samples
        TaskMatrix TaskMemory TaskReport interpolated interpolation keep
    """,
    "landscope.monitoring": """
        Monitor MonitorHistory
    """,
    "landscope.noise": """
        ActiveTemperature DirectResponse DriftLaw EdgeOfStability EffectiveCurvature GradientNoise LayerMotion
        LogHessian LyapunovResidual MinibatchEnsemble ModeStatistics NoiseScale Oscillation Phases StepRule
        VelocityStatistics YaidaRelation active_temperature block_variances correlation_time_from_velocities
        cosine_content direct_response drift_law edge_of_stability effective_curvature effective_curvature_at
        gradient_noise learning_phases log_hessian lyapunov_residual minibatch_ensemble mode_statistics noise_scale
        noise_scale_of_two_sizes oscillation oscillation_share stationary_variance velocity_statistics window_factor
        window_time yaida_relation
    """,
    "landscope.penalties": """
        KroneckerPenalty LowRankKroneckerPenalty PartPenalty PenaltySum ProximalSteps QuadraticPenalty basin_penalty
        curvature_constraint distance_penalty elastic_weight_consolidation factored_penalty
        flatness_from_variance kronecker_elastic_weight_consolidation landscape_dependent_constraint
        load_penalty low_rank_penalty memory_aware_synapses merged_penalty moved_penalty nearest_kronecker_penalty
        scaled_penalty uncoupled_penalty
    """,
    "landscope.plots": """
        accumulated_variance active_modes as_html cooling_rates_against_flatness correlation_time_against_flatness
        correlation_time_by_sampling correlation_times_from_velocities equilibrium exponents fields
        flatness_against_rank flatness_and_curvature flatness_at_two_levels invariant_flatness
        inverse_loss_over_training learning_coefficient log_loss_profiles loss_along_drift loss_between
        loss_forms_along_drift loss_plane loss_profiles mean_squared_displacement minibatch_profiles
        modes_over_training noise_against_curvature noise_against_flatness noise_scale noise_scale_over_training
        oscillation_by_direction path_in_plane psi_against_window psi_in_growing_windows response_and_correlation
        response_temperature sharpness_over_training spectral_density spectrum_exponents spring_predictions
        spring_statistics stationarity temperature_against_flatness temperature_against_loss
        temperature_over_training temperature_profiles temperature_profiles_over_training training_curves
        values_against_rank variance_after_correction variance_against_flatness variance_against_window
        variance_along_curvature variance_and_relaxation variance_spectrum velocity_autocorrelation
    """,
    "landscope.surrogates": """
        NoisyGradientDescent SURROGATES Surrogate crossover_curvature epoch_noise_share epoch_noise_time
        finite_window_process gradient_noise_like langevin make_surrogate ornstein_uhlenbeck random_walk_like
        relaxing_process rest_curvature shuffled_increments sign_flipped_epochs walk_beside
    """,
    "landscope.synthetic": """
        InverseGaussian QuadraticBowl RandomSprings autoregressive random_walk random_walk_shares sgd_in_bowl
        sgd_in_springs sgd_over_epochs
    """,
}
"""Every public name, module by module; a change here is a change of the interface."""
MODULES = {name.rpartition(".")[2] for name in FROZEN if name != "landscope"}
FURTHER = ("study", "errors", "protocols", "results")
"""Modules with a page whose names are not frozen here."""
HOOKS = {"on_train_begin", "on_save", "setup", "on_train_start", "state_dict", "load_state_dict"}
"""Methods with the arguments that torch or a Trainer gives them."""


def public_names(module):
    """What a module offers: its ``__all__``, or what it defines and takes in but for modules."""
    named = getattr(module, "__all__", None)
    return set(named) if named else {
        name for name, value in vars(module).items() if not name.startswith("_") and not inspect.ismodule(value)
    }  # fmt: skip


@pytest.mark.parametrize("name", FROZEN)
def test_public_names_are_frozen(name):
    frozen, found = set(FROZEN[name].split()), public_names(importlib.import_module(name))
    assert found == frozen, f"new in {name}: {sorted(found - frozen)}; missing: {sorted(frozen - found)}"


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(ls.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in block.body for alias in node.names}
    assert seen == set(FROZEN["landscope"].split())


def test_importing_landscope_loads_no_torch():
    code = "import sys, landscope; assert not {'torch', 'numpy', 'plotly'} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def documented():
    for module in ("landscope", *sorted(MODULES), *FURTHER):
        name = module if module == "landscope" else f"landscope.{module}"
        found = importlib.import_module(name)
        for own in sorted(set(FROZEN.get(name, "").split() or found.__all__) - MODULES):
            yield pytest.param(getattr(found, own), id=f"{name}.{own}")


@pytest.mark.parametrize("thing", list(documented()))
def test_every_public_name_says_what_it_takes_returns_and_raises(thing):
    if not callable(thing) or typing.get_origin(thing):
        return
    text = inspect.getdoc(thing)
    assert text
    if inspect.isclass(thing):
        check_class(thing, text)
        return
    module = inspect.getmodule(thing)
    assert ">>>" in (inspect.getsource(module) if ".plots." in module.__name__ else text)
    assert "Returns:" in text or inspect.signature(thing).return_annotation in (None, "None")
    assert "Raises:" in text or not raises(thing)
    assert not (missing := undescribed(thing, text)), missing


def check_class(thing, text):
    """Check that a class and its methods say what they take and raise, in their own words or in those of a base."""
    is_protocol = getattr(thing, "_is_protocol", False)
    is_plain = is_protocol or issubclass(thing, Exception)
    assert dataclasses.is_dataclass(thing) or is_plain or ">>>" in text or "made by :meth:" in text
    if not is_protocol and any("__init__" in vars(base) for base in own_bases(thing)):
        assert not (missing := undescribed(thing, documentation(thing))), missing
    for name, method in vars(thing).items():
        method = inspect.unwrap(getattr(method, "__func__", method))
        if name.startswith("_") or name in HOOKS or not inspect.isfunction(method):
            continue
        told = "\n".join(inspect.getdoc(vars(base)[name]) or "" for base in thing.__mro__ if name in vars(base))
        assert told, f"{name} says nothing"
        assert not (missing := undescribed(method, told)), f"{name}: {missing}"
        assert re.search(r"Raises:|^Raise |Error", told) or not raises(method), f"{name} says not what it raises"


def documentation(thing):
    """What a class and those that it is made from say."""
    return "\n".join(f"{base.__doc__}\n{base.__init__.__doc__}" for base in own_bases(thing))


def own_bases(thing):
    return [base for base in thing.__mro__ if base.__module__.startswith("landscope.")]


def own_parameters(thing):
    """Names of the parameters, but for those that a caller cannot name."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = inspect.signature(thing).parameters.values()
    return [it.name for it in found if it.kind not in kinds and it.name not in ("self", "cls") and it.name[0] != "_"]


def undescribed(thing, text):
    """Parameters that a text neither lists nor names as code, such as ``w`` or ``w[..., N]``."""
    return [name for name in own_parameters(thing) if not re.search(rf"\b{name}:|``[^`]*\b{name}\b[^`]*``", text)]


def raises(thing):
    """Whether a function raises, or calls a check, in its own lines."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(thing))))
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    names = (call.id if isinstance(call, ast.Name) else getattr(call, "attr", "") for call in calls)
    return any(name.startswith("check_") for name in names) or any(isinstance(x, ast.Raise) for x in ast.walk(tree))


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'flatnes'"):
        _ = ls.flatnes


def test_every_module_names_what_it_offers():
    for path in Path(ls.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        lines = path.read_text().count("\n")
        assert lines <= 400, f"{path} has grown to {lines} lines"
        for node in filter(lambda node: isinstance(node, ast.ClassDef), tree.body):
            check_is_collection(node)


def check_is_collection(node):
    """With ``__getitem__`` alone, ``in`` and ``for`` ask for the rows 0, 1, ... and raise what these raise."""
    own = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
    if "__getitem__" in own:
        assert "__len__" in own, node.name
        assert "__iter__" in own or any("Dataset" in ast.unparse(base) for base in node.bases), node.name
