"""What a study knows of the optimiser: rates, groups and options, and distances of rows."""

import pytest
import torch

import landscope as ls
import small_study as small


def test_alpha_is_the_mean_over_the_window_and_a_schedule_is_named(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s", n_nulls=0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / small.N_STEPS)
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer, after_step=lambda _: schedule.step())
    rates = study.window.learning_rate
    assert study._analysis.learning_rate == pytest.approx(float(rates.mean()))
    assert float(rates.mean()) > 5 * float(rates[-1])
    study.analyse(noise=True, progress=False)
    caveat, _ = study.summary()["caveats"]
    assert f"{float(rates[0]):g} to {float(rates[-1]):g}" in caveat
    assert caveat[1:] in study.report().read_text()
    notes = {judgement.claim.key: judgement.measurement.note for judgement in study.claims}
    assert caveat in notes["cooling"]
    assert caveat not in notes["psi"]


def test_a_constant_learning_rate_and_even_rows_have_no_caveat_of_their_own(analysed):
    (caveat,) = analysed.summary()["caveats"]
    assert caveat.startswith("the training normalised over each minibatch")


def _recorded_with(folder, groups, kind=torch.optim.SGD):
    """The analysis of a short training whose optimiser has two groups: the recorded layer, and the others."""
    study, model, _ = small.begin(folder, n_nulls=0)
    layer, others = [model[0].weight], [p for p in model.parameters() if p is not model[0].weight]
    optimizer = kind([{"params": others, **groups[0]}, {"params": layer, **groups[1]}], lr=0.1)
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer, last=40)
    return study


def test_facts_are_those_of_the_recorded_weights(tmp_path):
    facts = _recorded_with(tmp_path / "s", [{}, {"momentum": 0.9, "lr": 0.01}])._analysis.facts
    assert (facts.momentum, facts.learning_rate, facts.is_plain_sgd) == (0.9, 0.01, False)
    assert _recorded_with(tmp_path / "t", [{"momentum": 0.9}, {}])._analysis.facts.is_plain_sgd


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.SGD, {"weight_decay": 0.1}),
        (torch.optim.SGD, {"momentum": 0.5, "nesterov": True}),
        (torch.optim.SGD, {"maximize": True}),
        (torch.optim.SGD, {"dampening": 0.5}),
        (torch.optim.Adam, {}),
    ],
)
def test_steps_that_are_more_than_the_gradient_are_not_plain(tmp_path, kind, options):
    assert not _recorded_with(tmp_path / "s", [{}, options], kind)._analysis.facts.is_plain_sgd


def test_groups_that_differ_are_not_plain_and_have_no_one_learning_rate(tmp_path):
    study, model, _ = small.begin(tmp_path / "s", n_nulls=0)
    groups = [{"params": [p], "lr": 0.1 / (1 + number)} for number, p in enumerate(model.parameters())]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    with study.record(optimizer, "0.*"):
        small.train(model, optimizer)
    assert study.trajectory.learning_rate.isnan().all()
    assert not study._analysis.facts.is_plain_sgd
    study.analyse(noise=True, progress=False)
    assert "parameter groups that differ" in study.not_measured["noise-temperature"]


def test_rows_that_are_not_evenly_spaced_lose_velocities_alone(tmp_path):
    study, model, optimizer = small.begin(tmp_path / "s", n_nulls=0)
    with study.record(optimizer, small.SELECT):
        small.train(model, optimizer)
    whole, kept = study.trajectory, [step for step in range(1, 241) if step < 200 or step % 2 == 0]
    weights = whole.weights[torch.tensor(kept) - 1]
    rows = ls.Trajectory.of(weights, steps=torch.tensor(kept), space=whole.space)
    study = ls.Study(tmp_path / "uneven", model, small.CRITERION, small.samples(), **small.SETTINGS)
    study.use_trajectory(rows)
    study.analyse(noise=True, progress=False)
    assert "equal distances" in study.not_measured["noise-velocity"]
    assert study.folder.has("noise-gradient")
    assert "1 to 2 steps apart" in study.summary()["caveats"][0]
    assert "1 to 2 steps apart: D and tau" in study.report().read_text()
