import pytest
import torch

import landscope as ls
from landscope.errors import InputError, NonFiniteError, StorageError

GOOD = {"anchor": torch.zeros(4), "directions": torch.eye(4)[:2], "stiffness": torch.ones(2)}


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"stiffness": torch.ones(3)}, InputError, "2 stiffnesses, one a direction"),
        ({"directions": None}, InputError, "4 stiffnesses, one a weight"),
        ({"directions": None, "stiffness": torch.ones(4), "floor": 1.0}, InputError, "no floor"),
        ({"stiffness": torch.tensor([1.0, -1.0])}, InputError, "at least 0"),
        ({"stiffness": torch.tensor([1.0, torch.inf])}, NonFiniteError, "stiffness"),
        ({"directions": 2 * torch.eye(4)[:2]}, InputError, "orthonormal"),
        ({"directions": torch.eye(5)[:2]}, InputError, "4 selected parameters"),
        ({"floor": -1.0}, InputError, "floor"),
        ({"strength": float("nan")}, InputError, "strength"),
        ({"strength": "strong"}, InputError, "strength"),
        ({"strength": True}, InputError, "strength"),
    ],
)
def test_a_penalty_that_makes_no_sense_is_refused(change, error, says):
    with pytest.raises(error, match=says):
        ls.penalties.QuadraticPenalty(**(GOOD | change))


def test_weights_of_another_model_and_steps_of_no_size_are_refused():
    penalty = ls.penalties.QuadraticPenalty(**GOOD)
    with pytest.raises(InputError, match="4 selected parameters"):
        penalty(torch.zeros(5))
    with pytest.raises(InputError, match="step_size"):
        penalty.proximal_step(torch.zeros(4), 0.0)
    for wrong in (torch.ones(5), torch.ones(2, 4), torch.tensor([1.0, torch.nan, 1.0, 1.0]), torch.tensor(-1.0)):
        with pytest.raises((InputError, NonFiniteError), match="step_size"):
            penalty.proximal_step(torch.zeros(4), wrong)


def modes(rows=12, dim=6):
    return ls.principal_modes(ls.Trajectory.of(torch.randn(rows, dim)))


@pytest.mark.parametrize(
    ("flatness", "options", "error", "says"),
    [
        (torch.tensor([1.0, float("inf"), 1.0]), {}, NonFiniteError, "inf at mode 2"),
        (torch.tensor([1.0, 1.0, 0.0]), {}, NonFiniteError, "at mode 3"),
        (torch.full((3,), float("nan")), {}, InputError, "at least one mode"),
        (torch.ones(3), {"n_modes": 4}, InputError, "at least 4 modes"),
        (torch.ones(9), {"n_modes": 9}, InputError, "at least 9 modes"),
        (torch.ones(3), {"floor": "steep"}, InputError, "last-mode"),
        (torch.ones(3), {"floor": -1.0}, InputError, "floor"),
        (torch.ones(3), {"strength": -1.0}, InputError, "strength"),
    ],
)
def test_a_constraint_from_bad_numbers_is_refused(flatness, options, error, says):
    with pytest.raises(error, match=says):
        ls.penalties.landscape_dependent_constraint(torch.zeros(6), modes(), flatness, **options)


def test_more_modes_than_the_window_has_and_other_weights_are_refused():
    still = torch.zeros(12, 6)
    still[:, :2] = torch.randn(12, 2)
    found = ls.principal_modes(ls.Trajectory.of(still))
    with pytest.raises(InputError, match="at most 2, the number of modes in which the weights moved"):
        ls.penalties.landscape_dependent_constraint(torch.zeros(6), found, torch.ones(6), n_modes=6)
    assert len(ls.penalties.landscape_dependent_constraint(torch.zeros(6), found, torch.ones(6)).stiffness) == 2
    with pytest.raises(InputError, match="w1 as a tensor"):
        ls.penalties.landscape_dependent_constraint([0.0] * 6, modes(), torch.ones(3))
    with pytest.raises(InputError, match="6 selected parameters"):
        ls.penalties.landscape_dependent_constraint(torch.zeros(7), modes(), torch.ones(3))
    with pytest.raises(NonFiniteError, match="w1"):
        ls.penalties.landscape_dependent_constraint(torch.full((6,), float("nan")), modes(), torch.ones(3))


@pytest.mark.parametrize(
    ("psi", "measured", "ranks", "error", "says"),
    [
        (-4.0, torch.ones(1), [1], InputError, "psi"),
        (4.0, torch.ones(2), [1], InputError, "one flatness for each rank"),
        (4.0, torch.ones(1), [7], InputError, "from 1 to 6"),
        (4.0, torch.tensor([float("nan")]), [1], InputError, "at least one"),
    ],
)
def test_a_law_that_gives_no_flatness_is_refused(psi, measured, ranks, error, says):
    with pytest.raises(error, match=says):
        ls.penalties.flatness_from_variance(torch.ones(6), psi, measured, ranks)
    with pytest.raises(NonFiniteError, match="variances"):
        ls.penalties.flatness_from_variance(torch.zeros(6), 4.0, torch.ones(1), [1])


def test_penalties_that_do_not_belong_together_are_not_merged():
    low_rank = ls.penalties.QuadraticPenalty(**GOOD)
    diagonal = ls.penalties.QuadraticPenalty(anchor=torch.zeros(4), stiffness=torch.ones(4))
    with pytest.raises(InputError, match="all have directions"):
        ls.penalties.merged_penalty([low_rank, diagonal])
    with pytest.raises(InputError, match="same weights"):
        ls.penalties.merged_penalty(
            [diagonal, ls.penalties.QuadraticPenalty(anchor=torch.zeros(5), stiffness=torch.ones(5))]
        )
    with pytest.raises(InputError, match="no rank"):
        ls.penalties.merged_penalty([diagonal, diagonal], rank=2)
    factors = torch.eye(2)
    layer = ls.penalties.KroneckerPenalty(anchor=factors, inputs=factors, outputs=factors)
    with pytest.raises(InputError, match="got KroneckerPenalty"):
        ls.penalties.merged_penalty([ls.penalties.PenaltySum((diagonal, layer))])
    for empty in (lambda: ls.penalties.merged_penalty([]), lambda: ls.penalties.PenaltySum(())):
        with pytest.raises(InputError, match="at least one penalty"):
            empty()


def test_states_of_something_else_are_refused():
    with pytest.raises(StorageError, match="the state of a penalty"):
        ls.penalties.load_penalty({"weights": torch.zeros(2)})
    state = ls.penalties.QuadraticPenalty(**GOOD).state_dict()
    del state["floor"]
    damaged = ls.penalties.PenaltySum((ls.penalties.QuadraticPenalty(**GOOD),)).state_dict()
    del damaged["parts"]
    for broken in (state, damaged, {"kind": "part_penalty"}):
        with pytest.raises(StorageError, match="another version"):
            ls.penalties.load_penalty(broken)


def test_layers_and_losses_without_a_fisher_information_are_refused():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.LayerNorm(3), torch.nn.Linear(3, 2))
    data = (torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))
    risk = ls.EmpiricalRisk(model, torch.nn.CrossEntropyLoss(), data)
    with pytest.raises(InputError, match=r"0\.bias, 0\.weight of LayerNorm"):
        ls.penalties.kronecker_elastic_weight_consolidation(risk, risk.w0)
    with pytest.raises(InputError, match="at most 14"):
        ls.penalties.elastic_weight_consolidation(risk, risk.w0, n_weights=15)
    absolute = ls.EmpiricalRisk(model, torch.nn.L1Loss(), (data[0], torch.randn(4, 2)))
    for kind in ("exact", "monte-carlo"):
        with pytest.raises(InputError, match="negative log-likelihood"):
            ls.penalties.elastic_weight_consolidation(absolute, absolute.w0, fisher=kind)
    assert ls.penalties.elastic_weight_consolidation(absolute, absolute.w0).n_stored == 28


class Uncalled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.used = torch.nn.Linear(3, 2)

    def forward(self, x):
        return torch.nn.functional.linear(x, self.used.weight)


class Repeated(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 3)

    def forward(self, x):
        return self.layer(torch.tanh(self.layer(x)))


def test_layers_whose_factors_would_say_nothing_are_refused():
    data = (torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))
    model = Uncalled()
    space = ls.ParameterSpace.of(model, "used.weight")
    risk = ls.EmpiricalRisk(model, torch.nn.CrossEntropyLoss(), data, space=space)
    with pytest.raises(InputError, match=r"without a call of the module.*basin_penalty"):
        ls.penalties.kronecker_elastic_weight_consolidation(risk, risk.w0)
    risk = ls.EmpiricalRisk(Repeated(), torch.nn.CrossEntropyLoss(), data)
    with pytest.raises(InputError, match="calls once, as modules; got 2 calls of layer"):
        ls.penalties.kronecker_elastic_weight_consolidation(risk, risk.w0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    risk = ls.EmpiricalRisk(model, torch.nn.CrossEntropyLoss(), data)
    with pytest.raises(InputError, match="tied to another"):
        ls.penalties.kronecker_elastic_weight_consolidation(risk, risk.w0)


def test_penalties_on_different_weights_are_not_added_up():
    with pytest.raises(InputError, match="same weights"):
        ls.penalties.PenaltySum(
            (ls.penalties.distance_penalty(torch.zeros(4)), ls.penalties.distance_penalty(torch.zeros(5)))
        )
    with pytest.raises(InputError, match="same weights"):
        ls.penalties.PenaltySum(
            tuple(ls.penalties.distance_penalty(torch.zeros(4), parameters=(name,)) for name in "ab")
        )


def test_anything_but_a_penalty_is_refused():
    model = torch.nn.Linear(2, 2)
    with pytest.raises(InputError, match="a penalty; got float"):
        ls.ProximalSteps(3.0, model, torch.optim.SGD(model.parameters(), lr=0.3))


def test_penalties_that_cannot_be_factored_are_refused():
    diagonal = ls.penalties.QuadraticPenalty(anchor=torch.zeros(4), stiffness=torch.ones(4))
    with pytest.raises(InputError, match="along directions"):
        ls.penalties.factored_penalty(diagonal, ls.ParameterSpace(("w",), ((2, 2),)))
    with pytest.raises(InputError, match="the 4 weights"):
        ls.penalties.factored_penalty(ls.penalties.QuadraticPenalty(**GOOD), ls.ParameterSpace(("w",), ((2, 3),)))
    named = ls.penalties.QuadraticPenalty(**GOOD, parameters=("v",))
    with pytest.raises(InputError, match="4 of w"):
        ls.penalties.factored_penalty(named, ls.ParameterSpace(("w",), ((2, 2),)))


def test_wrong_kinds_are_named():
    penalty, found = ls.penalties.QuadraticPenalty(**GOOD), modes()
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    w1 = torch.zeros(6)
    for wrong, says in (
        (lambda: ls.penalties.landscape_dependent_constraint(w1, found, [1.0, 2.0]), "flatness of type Tensor"),
        (lambda: ls.penalties.landscape_dependent_constraint(w1, found, torch.ones(3, 1)), "one flatness a mode"),
        (lambda: ls.penalties.landscape_dependent_constraint(w1, found.directions, torch.ones(3)), "Directions"),
        (
            lambda: ls.penalties.landscape_dependent_constraint(w1, found, torch.ones(3), floor=None),
            "floor of at least 0",
        ),
        (lambda: ls.penalties.PenaltySum((penalty, None)), "each part of type Penalty"),
        (lambda: ls.penalties.factored_penalty(penalty, model), "ParameterSpace"),
        (lambda: ls.penalties.factored_penalty(ls.penalties.PenaltySum((penalty,)), None), "QuadraticPenalty"),
        (lambda: ls.penalties.elastic_weight_consolidation(model, w1), "EmpiricalRisk"),
        (lambda: ls.penalties.merged_penalty(penalty), "penalties of type Sequence"),
        (lambda: ls.penalties.load_penalty("file.pt"), "torch.load"),
        (lambda: ls.ProximalSteps(penalty, optimizer, model), "the model of type Module"),
        (lambda: ls.penalties.curvature_constraint(w1, torch.eye(6)[:1], torch.ones(1), floor=-1.0), "-1.0"),
    ):
        with pytest.raises(InputError, match=says):
            wrong()
    still = ls.principal_modes(ls.Trajectory.of(torch.ones(12, 6)))
    with pytest.raises(InputError, match="in which the weights moved"):
        ls.penalties.landscape_dependent_constraint(w1, still, torch.ones(3))


@pytest.mark.parametrize("kind", ["gauss-newton", "batch-mean", "exactly"])
def test_kinds_of_fisher_information_without_kronecker_factors_are_refused(kind):
    model = torch.nn.Linear(2, 2)
    risk = ls.EmpiricalRisk(model, torch.nn.CrossEntropyLoss(), (torch.randn(3, 2), torch.tensor([0, 1, 1])))
    with pytest.raises(InputError, match=kind):
        ls.penalties.kronecker_elastic_weight_consolidation(risk, risk.w0, fisher=kind)
    with pytest.raises(InputError, match=kind):
        ls.memory.KFAC(fisher=kind)
    with pytest.raises(InputError, match="n_draws"):
        ls.memory.KFAC(n_draws=0)
