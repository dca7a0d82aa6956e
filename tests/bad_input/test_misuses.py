"""Numbers out of their range, and other misuses of the Python interface: each is refused with an error of landscope."""

import dataclasses
import importlib
import inspect
import math
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset

import landscope as ls
import public_arguments as arguments
from landscope.errors import InputError, LandscopeError
from landscope.results import Result
from own_model import CE, net, sgd, step
from test_public_names import FROZEN

NAN, INF = math.nan, math.inf
WRONG = {
    "seed": [1.5, True, -1, 2**64, "0", NAN],
    "count": [-1, 1.5, True, "3", NAN, 2.0],
    "share": [95, 1.0, 0.0, -0.1, NAN, True, "x", INF],
    "tolerance": [INF, NAN, 0.0, -1, True, "x", 1.0],
    "ratio": [1.0, 0.5, NAN, INF, True, "e"],
    "positive": [0.0, -0.1, NAN, INF, True, np.True_, "x"],
    "at least zero": [-0.1, NAN, INF, True, "x"],
    "momentum": [-0.1, 1.0, NAN, True, "x"],
    "finite": [NAN, INF, True, "x"],
}
"""What is wrong for each kind of number."""
NAMES = {
    "seed": "seed",
    "share": "confidence_level level fraction bandwidth min_r_squared",
    "tolerance": "rtol",
    "ratio": "ratio",
    "positive": "learning_rate lr step temperature threshold step_size inverse_temperature error_ratio psi total "
    "max_displacement gradient_share budget rise",
    "at least zero": "strength floor localisation weight_decay decay decoupled_decay noise_variance absolute "
    "distillation",
    "momentum": "momentum",
    "finite": "drift rest offset coupling minimum beta share",
    "count": "n_draws n_modes window every rank minimum_rows rows max_bytes last first_step dim count first n_batches "
    "patience n_samples n_steps burn_in n_chains n_directions n_rows n_blocks n_lags n_points max_lag steps_per_epoch "
    "batches_per_epoch spacing batch_size n_weights n_windows refresh n_epochs cache_bytes "
    "points samples length prompt jobs sketch",
}
KIND = {name: kind for kind, names in NAMES.items() for name in names.split()}
ALLOWED = {("noise.edge_of_stability", "learning_rate", "nan")}  # it says that no rate is known
NUMBERS = [
    (name, parameter)
    for name, (_, given) in arguments.VALID.items()
    for parameter, value in given.items()
    if parameter in KIND and isinstance(value, int | float)
]


def raised_by(call):
    """What a call raised: nothing, an error of landscope, or another one."""
    try:
        call()
    except LandscopeError:
        return "refused"
    except Exception as error:  # noqa: BLE001 - any other is the fault looked for
        return f"{type(error).__name__}: {error}"
    return "accepted"


@pytest.mark.parametrize("name", arguments.VALID)
def test_the_arguments_of_the_table_are_valid(name):
    function, given = arguments.VALID[name]
    assert raised_by(lambda: function(**given)) == "accepted"


@pytest.mark.parametrize(("name", "parameter"), NUMBERS)
def test_a_number_out_of_its_range_is_refused(name, parameter):
    function, given = arguments.VALID[name]
    for wrong in WRONG[KIND[parameter]]:
        if (name, parameter, str(wrong)) not in ALLOWED:
            with pytest.raises(LandscopeError, match=f"{parameter}|{parameter.replace('_', ' ')}"):  # it names it
                function(**{**given, parameter: wrong})


def test_there_are_more_than_a_thousand_misuses():
    assert sum(len(WRONG[KIND[parameter]]) for _, parameter in NUMBERS) > 1000


def public_functions():
    """Functions, classes that users make, and methods, by the name of the table."""
    for module, names in FROZEN.items():
        if module == "landscope.plots":
            continue
        for name in names.split():
            thing = getattr(importlib.import_module(module), name)
            if inspect.ismodule(thing) or not callable(thing):
                continue
            is_result = inspect.isclass(thing) and issubclass(thing, Result)
            if not is_result:
                yield name, thing
            for own, method in vars(thing).items() if inspect.isclass(thing) else ():
                if not own.startswith("_") and (inspect.isfunction(method) or isinstance(method, classmethod)):
                    yield f"{name}.{own}", getattr(thing, own)


CHECKED_ELSEWHERE = {
    # Settings of a study are fields of StudySettings, which checks them all (tests/bad_input/test_study_input.py).
    "Study.record", "Study.use_checkpoints", "Study.risk", "Trajectory.model_at",
    "LossForms",  # made by a function, not by a user
    # A TaskMemory calls the methods of its method, with the numbers that it has checked.
    "Basin.added", "Method.added", "Method.n_directions", "Basin.predicted_rise", "Method.predicted_rise",
    *(f"{name}.penalty" for name in ("Basin", "EWC", "KFAC", "L2", "LDC", "MAS", "Method")),
}  # fmt: skip


def test_every_public_number_is_in_the_table():
    """A new parameter with the name of a number needs a row, so that it cannot pass unchecked."""
    known = {}
    for name, (_, given) in arguments.VALID.items():
        known.setdefault(name.removeprefix("directions.").split(".", 1)[-1] if "." in name else name, set()).update(
            given
        )
        known.setdefault(name, set()).update(given)
        known.setdefault(name.rpartition(".")[2], set()).update(given)
    missing = []
    for name, function in public_functions():
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):
            continue
        for parameter, value in parameters.items():
            text = str(value.annotation)
            if parameter in KIND and ("int" in text or "float" in text) and "Float[" not in text.split("|")[0]:
                given = known.get(name) or known.get(name.rpartition(".")[2]) or set()
                if parameter not in given and name not in CHECKED_ELSEWHERE:
                    missing.append(f"{name}({parameter}: {text})")
    assert not missing


MODEL = nn.Linear(4, 3)
MANY, LABELS = torch.randn(600, 4, generator=torch.Generator().manual_seed(0)), torch.arange(600) % 3


def labels(wrong):
    """Labels of which one far from the start and the end is wrong."""
    changed = LABELS.clone()
    changed[311] = wrong
    return changed


CHECKED = {7: "labels from 0 to 2, one for each output; got label 7", -3: "labels of at least 0, or -100 .* label -3"}
"""Labels of a loss of torch are looked at before anything is evaluated."""
CRITERIA = {
    "weighted cross-entropy": (nn.CrossEntropyLoss(weight=torch.ones(3)), CHECKED),
    "smoothed cross-entropy": (nn.CrossEntropyLoss(label_smoothing=0.1), CHECKED),
    "NLL": (nn.NLLLoss(), CHECKED),
    "functional NLL": (F.nll_loss, CHECKED),
    "lambda": (
        lambda outputs, targets: F.cross_entropy(outputs, targets),
        dict.fromkeys((7, -3), r"a criterion for outputs .* IndexError: Target (7|-3) is out of bounds\. Check"),
    ),
    "losses of samples": (
        lambda outputs, targets: F.cross_entropy(outputs, targets, reduction="none"),
        dict.fromkeys((7, -3), r"evaluated on all data; got IndexError: Target (7|-3) is out of bounds\. Compare"),
    ),
    "margins": (
        nn.MultiMarginLoss(),
        dict.fromkeys((7, -3), r"evaluated on all data; got RuntimeError: target out of range\. Compare"),
    ),
}
"""Criteria, each with what is said of a label."""
ONE_PART = r"\(here part 4 of 6\); got IndexError: Target 7 is out of bounds"
ALL_PARTS = "on all data; got IndexError: Target 7 is out of bounds"
USES = {
    "loss": (lambda risk: risk(risk.w0), ONE_PART),
    "gradient": (lambda risk: risk.gradient(risk.w0), ONE_PART),
    "flatness": (lambda risk: ls.flatness(risk, risk.w0, torch.eye(15)[:1]), ONE_PART),
    "minibatches": (lambda risk: risk.minibatches(50).batch_losses(risk.w0), ALL_PARTS),
    "gradients of minibatches": (lambda risk: list(risk.minibatches(50).batch_gradients(risk.w0)), ALL_PARTS),
    "samples": (lambda risk: risk.sample_losses(risk.w0), ALL_PARTS),
    "Fisher information": (lambda risk: risk.fisher_information().diagonal(risk.w0, "auto"), ALL_PARTS),
    "Gauss-Newton": (lambda risk: risk.gauss_newton_product(risk.w0, risk.w0), ALL_PARTS),
    "Kronecker factors": (lambda risk: risk.kronecker_factors(risk.w0), ALL_PARTS),
}
"""Uses of a risk, each with what is said of a label in the fourth of six batches."""


@pytest.mark.parametrize("wrong", [7, -3])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_labels_out_of_range_are_refused(criterion, wrong):
    model, (loss, said) = nn.Sequential(MODEL, nn.LogSoftmax(1)), CRITERIA[criterion]
    for use, _ in USES.values():
        with pytest.raises(InputError, match=said[wrong]):
            use(ls.EmpiricalRisk(model, loss, (MANY, labels(wrong))))


@pytest.mark.parametrize("name", USES)
def test_labels_out_of_range_in_a_later_batch_are_refused(name):
    batches = list(zip(MANY.split(100), labels(7).split(100), strict=True))

    def losses(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1], reduction="none")

    use, said = USES[name]
    risk = ls.EmpiricalRisk.from_closure(MODEL, losses, batches)  # the first batch is right
    with pytest.raises(InputError, match=said):
        use(risk)


class Drawing(Dataset):
    """A data set that draws from every global generator."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        noise = random.random() + np.random.rand() + float(torch.rand(()))  # noqa: NPY002
        return torch.full((4,), index / 12) + noise, index % 3


class DrawingStream(IterableDataset):
    def __iter__(self):
        for _ in range(6):
            noise = random.random() + np.random.rand()  # noqa: NPY002
            yield torch.randn(2, 4) + noise, torch.tensor([0, 1])


def global_states():
    state = np.random.get_state()  # noqa: NPY002
    return random.getstate(), state[1].tolist(), state[2:], torch.get_rng_state().tolist()


@pytest.mark.filterwarnings("ignore:The data set gives another sample")
@pytest.mark.parametrize(
    "data", [lambda: Drawing(), lambda: DataLoader(Drawing(), 4, shuffle=True), lambda: DrawingStream()]
)
def test_reading_the_data_leaves_all_random_states_as_they_were(data):
    model, batches, before = net(), data(), global_states()
    before = global_states()
    ls.EmpiricalRisk(model, CE, batches)
    assert global_states() == before
    ls.EmpiricalRisk.from_closure(
        model, lambda m, b: F.cross_entropy(m(b[0]), b[1], reduction="none"),
        DataLoader(batches, 4) if isinstance(batches, Drawing) else batches,
    )  # fmt: skip
    assert global_states() == before


def a_run(**given):
    return ls.Trajectory.of(torch.randn(5, 2), **given)


SLIPS = {
    "a negative learning rate": (
        lambda: a_run(learning_rate=torch.tensor([0.1, 0.1, -0.1, 0.1, 0.1])),
        "learning rates of at least 0, .* -0.1 at row 2",
    ),
    "an infinite learning rate": (
        lambda: a_run(learning_rate=torch.full((5,), INF)),
        "learning rates of at least 0, .* inf at row 0",
    ),
    "one learning rate for all": (lambda: a_run(learning_rate=0.1), "learning_rate of type Tensor; got float"),
    "learning rates of no axis": (lambda: a_run(learning_rate=torch.tensor(0.1)), r"learning_rate of 5 rows; got \(\)"),
    "unsorted variances": (
        lambda: ls.landscape.learning_dimension(torch.tensor([1e-3, 1e-3, 1e-3, 9.0])),
        "variances in descending order; got a rise after rank 3",
    ),
    "NaN variances": (
        lambda: ls.landscape.learning_dimension(torch.tensor([1.0, NAN])),
        "finite variances; got 1 of 2 entries",
    ),
    "NaN where weights move": (
        lambda: ls.directions.moving(torch.tensor([1.0, NAN])),
        "finite variances; got 1 of 2 entries",
    ),
    "a negative width": (
        lambda: dataclasses.replace(arguments.F, width=-arguments.F.width),
        "widths above 0, .*; got -4",
    ),
    "negative measured widths": (
        lambda: ls.penalties.flatness_from_variance(torch.tensor([4.0, 1.0]), 4.0, torch.tensor([1.0, -2.0]), [1, 2]),
        "flatnesses above 0 .* -2.0 at mode 2",
    ),
    "a negative width to hold": (
        lambda: ls.penalties.landscape_dependent_constraint(
            arguments.ORIGIN, arguments.MODES, torch.tensor([1.0, -1.0])
        ),
        "flatnesses above 0 .* -1.0 at mode 2",
    ),
    "negative flatness of springs": (
        lambda: ls.synthetic.RandomSprings.draw(torch.tensor([1.0, -1.0]), 3, seed=0),
        r"a positive, finite flatness; got \[1.0, -1.0\]",
    ),
    "a window that ends at -10": (lambda: arguments.WINDOW.window(-10), "a window within the recorded steps 1 to 300"),
    "a stop at -10": (lambda: arguments.WINDOW.window(stop=-10), r"a window \[None, -10\) that holds recorded steps"),
    "a window without rows": (lambda: arguments.WINDOW.window(5, 5), r"a window \[5, 5\) that holds recorded steps"),
    "NaN coefficients": (
        lambda: ls.synthetic.autoregressive(torch.tensor([NAN]), 5, seed=0),
        r"coefficients inside \(-1, 1\); got \[nan\]",
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_other_misuses_are_refused(slip):
    call, said = SLIPS[slip]
    with pytest.raises(LandscopeError, match=said):
        call()


def test_two_groups_with_different_learning_rates_have_no_one_rate():
    model = net()
    weights, others = [model[0].weight], [p for n, p in model.named_parameters() if n != "0.weight"]
    optimizer = torch.optim.SGD([{"params": weights, "lr": 0.1}, {"params": others, "lr": 0.01}])
    with ls.TrajectoryRecorder(model, optimizer) as recorder:
        step(model, optimizer, 3)
    assert recorder.trajectory().learning_rate.isnan().all()
    one = net()
    same = sgd(one)
    with ls.TrajectoryRecorder(one, same) as recorder:
        step(one, same, 3)
    assert recorder.trajectory().learning_rate.tolist() == [0.1] * 3
