"""Valid arguments of every public function that takes numbers which can be out of their range."""

import math
import tempfile
import warnings

import torch

import landscope as ls
from landscope import directions, landscape, law, noise, penalties, surrogates, synthetic
from own_model import X, Y, net, of, sgd, step

CURVATURE = torch.tensor([4.0, 2.0, 1.0, 0.5]).double()
ORIGIN, AXES = torch.zeros(4).double(), torch.eye(4).double()
WELL = synthetic.InverseGaussian(CURVATURE)
WINDOW = ls.Trajectory.of(
    synthetic.sgd_in_bowl(CURVATURE, 300, learning_rate=0.1, noise_variance=1.0, seed=0),
    learning_rate=torch.full((300,), 0.1).double(),
)
FRESH = ls.Trajectory.of(synthetic.sgd_in_bowl(CURVATURE, 300, learning_rate=0.1, noise_variance=1.0, seed=1))
MODES = ls.principal_modes(WINDOW)
EIGEN = directions.Directions.of(torch.eye(4).double(), values=CURVATURE)
F = ls.flatness(WELL, ORIGIN, AXES)
RISK = of()
BATCHES = RISK.minibatches(3, seed=0)
SPRINGS = synthetic.RandomSprings.draw(torch.arange(1.0, 5), 20, seed=0)
LINE = torch.linspace(-1, 1, 7)
W0, FEW = RISK.w0, torch.eye(RISK.space.dim)[:2]
RUNS = torch.randn(4, 12, 2, generator=torch.Generator().manual_seed(0)).double()
PENALTY = penalties.distance_penalty(torch.zeros(4), strength=1.0)
LOW_RANK = {
    "anchor": torch.zeros(2, 3),
    "directions": torch.eye(3)[:1],
    "values": torch.ones(1),
    "outputs": torch.eye(2),
}
KRONECKER = {"anchor": torch.zeros(2, 3), "inputs": torch.eye(3), "outputs": torch.eye(2)}


def hessian_product(vector):
    return CURVATURE * vector


def motion_seen(**settings):
    return noise.LayerMotion(RISK.space).add(**settings)


def weights_and_groups(**settings):
    return surrogates.NoisyGradientDescent([torch.nn.Parameter(torch.zeros(2))], noise=None, **settings)


def recorder(**settings):
    model = torch.nn.Linear(20, 5)
    return ls.TrajectoryRecorder(model, sgd(model), **settings)


def monitored(**settings):
    model = net()
    with ls.Monitor(model, sgd(model), of(model=model), quantities=["loss"], **settings) as monitor:
        step(model, monitor._optimizer)


def held(**settings):
    model = net()
    penalty = ls.penalties.distance_penalty(ls.ParameterSpace.of(model).flatten(model))
    with ls.ProximalSteps(penalty, model, sgd(model), **settings) as steps:
        return steps


def memory(**settings):
    return ls.TaskMemory(net(), **{"method": "ldc", **settings})


def kept(**settings):
    return ls.keep(net(), torch.nn.CrossEntropyLoss(), (X, Y), **settings)


def reported(**settings):
    """The page of a memory whose model did not move since."""
    with tempfile.TemporaryDirectory() as folder:
        return KEPT.report({"a": (X, Y)}, torch.nn.CrossEntropyLoss(), path=folder + "/report.html", **settings)


def analysed(**settings):
    """The modes of a study of 42 steps."""
    with tempfile.TemporaryDirectory() as folder:
        model = net()
        study, optimizer = ls.Study(folder + "/s", model, torch.nn.CrossEntropyLoss(), (X, Y)), sgd(model)
        with study.record(optimizer):
            step(model, optimizer, times=42)
        return study.analyse(progress=False, until="modes", **settings)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # an untrained model
    KEPT = kept()
EFFECTIVE = noise.effective_curvature(WINDOW, WELL, EIGEN)

VALID = {
    "EmpiricalRisk": (of, {"cache_bytes": 2**20}),
    "EmpiricalRisk.from_closure": (
        lambda **settings: ls.EmpiricalRisk.from_closure(
            net(), lambda m, b: torch.nn.functional.cross_entropy(m(b[0]), b[1], reduction="none"), [(X, Y)], **settings
        ),
        {"seed": 0, "cache_bytes": 2**20},
    ),
    "EmpiricalRisk.minibatches": (RISK.minibatches, {"batch_size": 3, "seed": 0}),
    "EmpiricalRisk.random_subset": (RISK.random_subset, {"n_samples": 3, "seed": 0}),
    "landscape.basin": (
        landscape.basin,
        {"risk": WELL, "w0": ORIGIN, "scale": torch.ones(4).double(), "ratio": 2.0, "n_draws": 2, "seed": 0},
    ),
    "landscape.spectral_density": (
        landscape.spectral_density, {"landscape": WELL, "w0": ORIGIN, "n_probes": 2, "n_steps": 2, "seed": 0},
    ),
    "landscape.trace": (landscape.trace, {"landscape": WELL, "w0": ORIGIN, "n_probes": 2, "seed": 0}),
    "landscape.diagonal": (landscape.diagonal, {"landscape": WELL, "w0": ORIGIN, "n_probes": 2, "seed": 0}),
    "loss_plane": (
        ls.loss_plane,
        {
            "landscape": WELL, "w0": ORIGIN, "directions": AXES[:2], "first": LINE, "second": LINE, "refine": 1,
            "n_points": 3,
        },
    ),
    "landscape.loss_between": (
        landscape.loss_between, {"landscape": WELL, "first": ORIGIN, "second": AXES[0], "n_points": 3},
    ),
    "penalties.scaled_penalty": (penalties.scaled_penalty, {"penalty": PENALTY, "factor": 2.0}),
    "memory.Budget": (ls.memory.Budget, {"rise": 0.1, "absolute": 0.1, "every": 2}),
    "TaskMemory.budget": (
        lambda **settings: ls.TaskMemory(net()).budget(**settings),
        {"rise": 0.1, "absolute": 0.1, "samples": 2, "every": 2},
    ),
    "TaskMemory.budget of none": (
        lambda **settings: ls.TaskMemory(net()).budget(None, **settings), {"absolute": 0.1, "samples": 2, "every": 2},
    ),
    "TaskMemory.report": (reported, {"points": 3}),
    "Study.analyse": (analysed, {"jobs": 1}),
    "keep": (kept, {"strength": 1.0, "budget": 0.1, "absolute": 0.1, "samples": 2, "rank": 2, "ratio": math.e}),
    "keep without a budget": (kept, {"absolute": 0.1, "samples": 2}),
    "FisherInformation.diagonal": (
        RISK.fisher_information().diagonal, {"w": W0, "batch_size": 2, "n_draws": 2, "seed": 0},
    ),
    "memory.Basin": (ls.memory.Basin, {"n_points": 2, "n_samples": 4, "n_draws": 1, "seed": 0, "rank": 2}),
    "memory.EWC": (ls.memory.EWC, {"n_draws": 1, "seed": 0, "batch_size": 2}),
    "memory.KFAC": (ls.memory.KFAC, {"n_draws": 1, "seed": 0}),
    "memory.LDC": (lambda **settings: ls.memory.LDC(flatness="variance", **settings), {"psi": 4.0}),
    "memory.Replay": (
        ls.memory.Replay, {"batch_size": 3, "temperature": 2.0, "distillation": 1.0, "seed": 0},
    ),
    "memory.Samples": (ls.memory.Samples, {"count": 3}),
    "memory.Gaussians": (ls.memory.Gaussians, {"rank": 1}),
    "memory.Generated": (ls.memory.Generated, {"count": 3, "length": 4, "prompt": 1, "temperature": 1.0}),
    "memory.interpolation": (
        ls.memory.interpolation,
        {"model": net(), "old": net(), "evaluations": {"a": lambda model: 0.0}, "higher_is_better": False, "points": 2},
    ),
    "memory.interpolated": (ls.memory.interpolated, {"model": net(), "old": net(), "share": 0.5}),
    "EmpiricalRisk.kronecker_factors": (RISK.kronecker_factors, {"w": W0, "n_draws": 2, "seed": 0}),
    "TaskMemory": (
        memory,
        {"strength": 1.0, "n_modes": 2, "window": 5, "every": 1, "ratio": math.e, "rank": 2, "hold_every": 3},
    ),
    "ProximalSteps": (held, {"every": 2}),
    "Trajectory.thin": (WINDOW.thin, {"every": 2}),
    "Trajectory.check": (WINDOW.check, {"minimum_rows": 2}),
    "Trajectory.blocks": (lambda **settings: list(WINDOW.blocks(**settings)), {"rows": 20}),
    "Trajectory.panels": (lambda **settings: list(WINDOW.panels(**settings)), {"max_bytes": 2**20}),
    "Trajectory.from_checkpoints": (
        lambda **settings: ls.Trajectory.from_checkpoints({1: net().state_dict()}, net(), **settings),
        {"steps_per_epoch": 5},
    ),
    "TrajectoryRecorder": (recorder, {"every": 1, "last": 3, "first_step": 1, "n_steps": 100, "sketch": 64}),
    "Monitor": (
        monitored,
        {"batch_size": 3, "budget": 0.5, "n_samples": 9, "n_modes": 2, "memory": 5, "first_step": 1, "seed": 0},
    ),
    "monitoring.Monitor": (monitored, {"batch_size": 3, "every": 2}),
    "directions.StreamingModes": (directions.StreamingModes, {"n_modes": 2, "memory": 5}),
    "noise.LayerMotion.add": (motion_seen, {"step": 1, "w": W0}),
    "noise.LayerMotion": (noise.LayerMotion, {"space": RISK.space, "memory": 5}),
    "flatness": (ls.flatness, {"landscape": WELL, "w0": ORIGIN, "directions": AXES, "ratio": 2.0, "rtol": 1e-2,
                               "max_displacement": 100.0}),
    "principal_modes": (ls.principal_modes, {"trajectory": WINDOW, "n_modes": 2}),
    "directions.gauss_newton": (
        directions.gauss_newton, {"risk": RISK, "w0": W0, "n_modes": 2, "rtol": 1e-2, "n_vectors": 4, "seed": 0},
    ),
    "directions.hessian": (
        directions.hessian, {"landscape": WELL, "w0": ORIGIN, "n_modes": 2, "rtol": 1e-2, "n_vectors": 4, "seed": 0},
    ),
    "directions.gradient_noise": (directions.gradient_noise, {"ensemble": SPRINGS, "w0": ORIGIN, "n_modes": 2}),
    "directions.modes_over_training": (
        directions.modes_over_training,
        {"trajectory": WINDOW, "n_modes": 2, "n_windows": 3, "most_rows": 60, "seed": 0},
    ),
    "directions.log_spaced_ranks": (directions.log_spaced_ranks, {"last": 20, "count": 4, "first": 1}),
    "directions.random": (directions.random, {"dim": 5, "n_modes": 2, "seed": 0}),
    "landscape.batch_sharpness": (landscape.batch_sharpness, {"ensemble": SPRINGS, "w0": ORIGIN + 1, "n_batches": 4}),
    "landscape.flatness_until_flat": (
        landscape.flatness_until_flat,
        {"landscape": WELL, "w0": ORIGIN, "directions": AXES, "threshold": 1.0, "ratio": 2.0, "rtol": 1e-2,
         "patience": 2},
    ),
    "landscape.learning_coefficient": (
        landscape.learning_coefficient,
        {"landscape": WELL, "w0": ORIGIN, "n_samples": 100, "step": 1e-4, "localisation": 1.0, "seed": 0, "n_steps": 20,
         "inverse_temperature": 1.0, "burn_in": 10, "n_chains": 2, "n_draws": 5},
    ),
    "landscape.learning_dimension": (
        landscape.learning_dimension, {"variance": CURVATURE, "fraction": 0.9, "total": 8.0},
    ),
    "landscape.learning_dimension_over_time": (
        landscape.learning_dimension_over_time, {"trajectory": WINDOW, "rows": 50, "fraction": 0.9},
    ),
    "landscape.sharp_dimension": (landscape.sharp_dimension, {"flatness": F, "threshold": 1.0}),
    "landscape.sharp_dimension_is_bound": (
        landscape.sharp_dimension_is_bound, {"flatness": F, "threshold": 1.0, "n_directions": 10, "patience": 2},
    ),
    "law.InverseRelation": (
        law.InverseRelation,
        {"landscape": WELL, "window": WINDOW, "fresh": FRESH, "n_modes": 4, "rtol": 1e-2, "ratio": 2.0},
    ),
    "law.InverseRelation.null": (law.InverseRelation(WELL, WINDOW, FRESH, (1, 4)).null, {"seed": 0}),
    "law.equilibrium": (
        law.equilibrium,
        {"curvature": CURVATURE, "flatness": F, "n_rows": 20, "learning_rate": 0.1, "momentum": 0.5, "every": 1,
         "steps_per_epoch": 10, "n_draws": 2, "seed": 0},
    ),
    "law.errors_in_variables_exponent": (
        law.errors_in_variables_exponent, {"x": CURVATURE, "y": CURVATURE**-2, "error_ratio": 1.0},
    ),
    "law.fit_power_law": (law.fit_power_law, {"x": CURVATURE, "y": CURVATURE**-2, "confidence_level": 0.95}),
    "law.measure_exponents": (
        law.measure_exponents,
        {"name": "x", "landscape": WELL, "w0": ORIGIN, "window": WINDOW, "n_modes": 4, "rtol": 1e-2, "ratio": 2.0,
         "max_displacement": 100.0},
    ),
    "law.one_window_correction": (
        law.one_window_correction,
        {"modes": MODES, "window": WINDOW, "n_modes": 3, "bandwidth": 0.1, "level": 0.01, "seed": 0},
    ),
    "law.run_limit": (
        law.run_limit,
        {"directions": EIGEN, "window": WINDOW, "flatness": F, "effective": EFFECTIVE, "learning_rate": 0.1,
         "momentum": 0.0, "weight_decay": 0.0, "steps_per_epoch": 10},
    ),
    "law.window_limit": (
        law.window_limit,
        {"eigenvectors": EIGEN, "window": WINDOW, "flatness": F, "learning_rate": 0.1, "steps_per_epoch": 10},
    ),
    "noise.StepRule": (
        noise.StepRule, {"momentum": 0.5, "gradient_share": 0.5, "decoupled_decay": 0.1},
    ),
    "noise.StepRule.relaxation_rate": (noise.StepRule().relaxation_rate, {"pull": CURVATURE / 10, "decay": 0.1}),
    "noise.StepRule.matrices": (noise.StepRule().matrices, {"pull": CURVATURE / 10, "decay": 0.1}),
    "noise.StepRule.is_stable": (noise.StepRule().is_stable, {"pull": CURVATURE / 10, "decay": 0.1}),
    "noise.StepRule.covariance": (noise.StepRule().covariance, {"pull": CURVATURE / 10, "decay": 0.1}),
    "noise.StepRule.velocity_variance": (
        noise.StepRule().velocity_variance, {"pull": CURVATURE / 10, "decay": 0.1, "spacing": 2},
    ),
    "noise.StepRule.variance_over_velocity": (
        noise.StepRule().variance_over_velocity, {"pull": CURVATURE / 10, "decay": 0.1, "spacing": 2},
    ),
    "noise.GradientNoise.velocity_variance": (
        noise.gradient_noise(SPRINGS, ORIGIN, AXES).velocity_variance, {"learning_rate": 0.1},
    ),
    "noise.GradientNoise.temperature": (
        noise.gradient_noise(SPRINGS, ORIGIN, AXES).temperature, {"learning_rate": 0.1},
    ),
    "noise.active_temperature": (
        noise.active_temperature,
        {"ensemble": SPRINGS, "w0": ORIGIN, "directions": AXES, "displacements": LINE, "learning_rate": 0.1},
    ),
    "noise.block_variances": (noise.block_variances, {"coordinates": WINDOW.weights, "n_blocks": 5}),
    "noise.correlation_time_from_velocities": (
        noise.correlation_time_from_velocities,
        {"autocorrelation": torch.tensor([[1.0], [-0.2], [-0.1]]).double(), "n_rows": 100},
    ),
    "noise.direct_response": (
        noise.direct_response,
        {"unkicked": RUNS, "kicked": torch.stack([RUNS + 1, RUNS - 1], 1), "halved":
         torch.stack([RUNS + 0.5, RUNS - 0.5], 1), "kick": torch.ones(2).double(), "learning_rate": 0.1,
         "momentum": 0.5, "n_lags": 3},
    ),
    "noise.drift_law": (
        noise.drift_law,
        {"steps": torch.arange(1.0, 9), "loss": 1 / torch.arange(1.0, 9), "beta": 1.0, "learning_rate": 0.1},
    ),
    "noise.edge_of_stability": (
        noise.edge_of_stability,
        {"risk": WELL, "ensemble": SPRINGS, "w0": ORIGIN + 0.1, "window": WINDOW, "eigenvectors": EIGEN, "modes": MODES,
         "learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0, "n_batches": 4, "seed": 0},
    ),
    "noise.effective_curvature": (
        noise.effective_curvature, {"trajectory": WINDOW, "landscape": WELL, "directions": EIGEN, "n_points": 100},
    ),
    "noise.noise_scale": (
        noise.noise_scale,
        {
            "ensemble": SPRINGS, "w0": ORIGIN, "directions": AXES, "batch_size": 3, "n_batches": 9,
            "confidence_level": 0.9,
        },
    ),
    "noise.noise_scale_of_two_sizes": (
        noise.noise_scale_of_two_sizes,
        {
            "small": torch.tensor([3.0, 3.2, 2.8]), "large": torch.tensor([1.5, 1.4, 1.6]), "small_size": 1,
            "large_size": 4, "confidence_level": 0.9,
        },
    ),
    "noise.lyapunov_residual": (
        noise.lyapunov_residual,
        {"trajectory": WINDOW, "product": lambda w, v: CURVATURE * v, "modes": MODES, "covariance": AXES,
         "learning_rate": 0.1},
    ),
    "noise.minibatch_ensemble": (
        noise.minibatch_ensemble,
        {"ensemble": SPRINGS, "w0": ORIGIN, "directions": AXES, "displacements": LINE, "learning_rate": 0.1,
         "min_r_squared": 0.8},
    ),
    "noise.oscillation_share": (noise.oscillation_share, {"pull": CURVATURE / 10, "momentum": 0.5}),
    "noise.stationary_variance": (
        noise.stationary_variance,
        {"velocity_variance": CURVATURE, "curvature": CURVATURE, "learning_rate": 0.1, "momentum": 0.5},
    ),
    "noise.velocity_statistics": (
        noise.velocity_statistics, {"trajectory": WINDOW, "directions": MODES, "max_lag": 5, "steps_per_epoch": 10},
    ),
    "noise.window_time": (
        noise.window_time,
        {"curvature": CURVATURE, "lengths": torch.tensor([10.0, 20.0]), "learning_rate": 0.1, "momentum": 0.5,
         "steps_per_epoch": 10},
    ),
    "noise.yaida_relation": (
        noise.yaida_relation,
        {"trajectory": WINDOW, "landscape": WELL, "modes": MODES, "learning_rate": 0.1, "n_points": 100},
    ),
    "penalties.KroneckerPenalty": (penalties.KroneckerPenalty, {**KRONECKER, "strength": 1.0}),
    "penalties.KroneckerPenalty.proximal_step": (
        penalties.KroneckerPenalty(**KRONECKER).proximal_step, {"w": torch.zeros(6), "step_size": 0.1},
    ),
    "penalties.LowRankKroneckerPenalty": (
        penalties.LowRankKroneckerPenalty, {**LOW_RANK, "floor": 0.0, "strength": 1.0},
    ),
    "penalties.LowRankKroneckerPenalty.proximal_step": (
        penalties.LowRankKroneckerPenalty(**LOW_RANK).proximal_step, {"w": torch.zeros(6), "step_size": 0.1},
    ),
    "penalties.low_rank_penalty": (
        penalties.low_rank_penalty, {"penalty": penalties.KroneckerPenalty(**KRONECKER), "rank": 1},
    ),
    "penalties.QuadraticPenalty": (
        penalties.QuadraticPenalty,
        {"anchor": torch.zeros(4), "stiffness": torch.ones(4), "strength": 1.0, "floor": 0.0, "offset": 0.0},
    ),
    "penalties.QuadraticPenalty.proximal_step": (PENALTY.proximal_step, {"w": torch.zeros(4), "step_size": 0.1}),
    "penalties.PartPenalty": (penalties.PartPenalty, {"part": PENALTY, "columns": torch.arange(4), "dim": 6}),
    "penalties.PartPenalty.proximal_step": (
        penalties.PartPenalty(PENALTY, torch.arange(4), 6).proximal_step, {"w": torch.zeros(6), "step_size": 0.1},
    ),
    "penalties.PartPenalty.with_strength": (
        penalties.PartPenalty(PENALTY, torch.arange(4), 6).with_strength, {"strength": 1.0},
    ),
    "penalties.PenaltySum.proximal_step": (
        penalties.PenaltySum((PENALTY,)).proximal_step, {"w": torch.zeros(4), "step_size": 0.1},
    ),
    "penalties.PenaltySum.with_strength": (penalties.PenaltySum((PENALTY,)).with_strength, {"strength": 1.0}),
    "penalties.basin_penalty": (
        penalties.basin_penalty,
        {"risk": RISK, "w1": W0, "strength": 1.0, "ratio": 2.0, "n_points": 2, "n_samples": 4, "n_draws": 1, "seed": 0,
         "rank": 2},
    ),
    "penalties.curvature_constraint": (
        penalties.curvature_constraint,
        {"w1": torch.zeros(4), "directions": AXES.float(), "curvature": torch.ones(4), "floor": 0.1, "strength": 1.0},
    ),
    "penalties.distance_penalty": (penalties.distance_penalty, {"w1": torch.zeros(4), "strength": 1.0}),
    "penalties.elastic_weight_consolidation": (
        penalties.elastic_weight_consolidation,
        {"risk": RISK, "w1": W0, "strength": 1.0, "fisher": "monte-carlo", "batch_size": 4, "n_draws": 2, "seed": 0,
         "n_weights": 3},
    ),
    "penalties.flatness_from_variance": (
        penalties.flatness_from_variance,
        {"variance": CURVATURE, "psi": 4.0, "measured": F, "ranks": [1, 2, 3, 4]},
    ),
    "penalties.kronecker_elastic_weight_consolidation": (
        penalties.kronecker_elastic_weight_consolidation,
        {"risk": RISK, "w1": W0, "strength": 1.0, "n_draws": 2, "seed": 0},
    ),
    "penalties.landscape_dependent_constraint": (
        penalties.landscape_dependent_constraint,
        {"w1": ORIGIN, "modes": MODES, "flatness": F, "n_modes": 2, "floor": 0.1, "strength": 1.0},
    ),
    "penalties.memory_aware_synapses": (
        penalties.memory_aware_synapses, {"risk": RISK, "w1": W0, "strength": 1.0},
    ),
    "penalties.merged_penalty": (penalties.merged_penalty, {"penalties": [PENALTY, PENALTY], "rank": 2}),
    "surrogates.NoisyGradientDescent": (weights_and_groups, {"lr": 0.1}),
    "surrogates.crossover_curvature": (
        surrogates.crossover_curvature, {"learning_rate": 0.1, "batches_per_epoch": 10, "momentum": 0.5},
    ),
    "surrogates.epoch_noise_share": (
        surrogates.epoch_noise_share,
        {"window": WINDOW, "curvature": EIGEN.part(slice(1)), "steps_per_epoch": 10},
    ),
    "surrogates.epoch_noise_time": (
        surrogates.epoch_noise_time, {"curvature": CURVATURE, "learning_rate": 0.1, "batches_per_epoch": 10},
    ),
    "surrogates.finite_window_process": (
        surrogates.finite_window_process,
        {"window": WINDOW, "curvature": EIGEN, "rest": 0.1, "seed": 0, "learning_rate": 0.1, "steps_per_epoch": 10,
         "n_windows": 1},
    ),
    "surrogates.gradient_noise_like": (
        surrogates.gradient_noise_like,
        {"kind": "covariance", "risk": RISK, "batch_size": 3, "n_directions": 2, "refresh": 5, "ratio": 2.0, "seed": 0},
    ),
    "surrogates.langevin": (
        surrogates.langevin,
        {"landscape": WELL, "w0": ORIGIN, "temperature": 1e-3, "step": 1e-2, "n_steps": 5, "seed": 0},
    ),
    "surrogates.make_surrogate": (
        surrogates.make_surrogate,
        {"name": "sign-flipped", "window": WINDOW, "directions": MODES, "seed": 0, "steps_per_epoch": 10},
    ),
    "surrogates.ornstein_uhlenbeck": (
        surrogates.ornstein_uhlenbeck, {"trajectory": WINDOW, "directions": MODES, "seed": 0},
    ),
    "surrogates.random_walk_like": (surrogates.random_walk_like, {"trajectory": WINDOW, "seed": 0}),
    "surrogates.relaxing_process": (
        surrogates.relaxing_process,
        {"curvature": CURVATURE, "noise": CURVATURE, "n_rows": 5, "learning_rate": 0.1, "momentum": 0.5, "every": 1,
         "steps_per_epoch": 10, "seed": 0},
    ),
    "surrogates.rest_curvature": (
        surrogates.rest_curvature,
        {"window": WINDOW, "curvature": EIGEN.part(slice(1)), "product": hessian_product, "n_samples": 5, "seed": 0},
    ),
    "surrogates.shuffled_increments": (surrogates.shuffled_increments, {"trajectory": WINDOW, "seed": 0}),
    "surrogates.sign_flipped_epochs": (
        surrogates.sign_flipped_epochs, {"trajectory": WINDOW, "seed": 0, "steps_per_epoch": 10},
    ),
    "surrogates.walk_beside": (
        surrogates.walk_beside,
        {"landscape": WELL, "w0": ORIGIN, "directions": AXES, "curvature": CURVATURE, "start": torch.ones(4).double(),
         "noise": CURVATURE, "n_steps": 3, "learning_rate": 0.1, "momentum": 0.5, "seed": 0},
    ),
    "synthetic.InverseGaussian": (synthetic.InverseGaussian, {"curvature": CURVATURE, "minimum": 1.0, "drift": 0.0}),
    "synthetic.InverseGaussian.flatness": (WELL.flatness, {"ratio": 2.0}),
    "synthetic.QuadraticBowl": (synthetic.QuadraticBowl, {"curvature": CURVATURE, "minimum": 1.0}),
    "synthetic.QuadraticBowl.flatness": (synthetic.QuadraticBowl(CURVATURE).flatness, {"ratio": 2.0}),
    "synthetic.RandomSprings.draw": (
        synthetic.RandomSprings.draw, {"flatness": CURVATURE, "n_batches": 5, "seed": 0, "coupling": 0.1},
    ),
    "synthetic.autoregressive": (
        synthetic.autoregressive,
        {"coefficient": torch.tensor([0.5]), "n_steps": 5, "seed": 0, "noise_variance": 1.0},
    ),
    "synthetic.random_walk": (synthetic.random_walk, {"n_steps": 5, "dim": 2, "seed": 0, "drift": 0.1}),
    "synthetic.random_walk_shares": (synthetic.random_walk_shares, {"n_steps": 5, "n_modes": 2}),
    "synthetic.sgd_in_bowl": (
        synthetic.sgd_in_bowl,
        {"curvature": CURVATURE, "n_steps": 5, "learning_rate": 0.1, "noise_variance": 1.0, "seed": 0},
    ),
    "synthetic.sgd_in_springs": (
        synthetic.sgd_in_springs, {"stiffness": torch.ones(2), "spread": torch.ones(2), "n_steps": 5, "seed": 0},
    ),
    "synthetic.sgd_over_epochs": (
        synthetic.sgd_over_epochs,
        {"gradients": torch.randn(8, 3), "n_epochs": 2, "learning_rate": 0.1, "seed": 0, "momentum": 0.5},
    ),
    "Preconditioned.minibatches": (
        lambda **settings: landscape.Preconditioned(RISK, torch.ones(RISK.space.dim)).minibatches(**settings),
        {"batch_size": 3, "seed": 0},
    ),
}  # fmt: skip
"""Function and arguments that it takes, by its name."""
