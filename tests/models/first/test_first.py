"""The first rows of "your model, what to write" (docs/howto/models.md), each against loops of plain torch."""

import copy
import types
from pathlib import Path

import pytest
import torch
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.memory import EWC, KFAC
from models.first.own_kinds import OWN
from models.first.target_kinds import TARGETS
from models.first.transformer_kinds import TRANSFORMERS

KINDS = TRANSFORMERS | OWN | TARGETS
STEPS = 12

pytestmark = [pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")]


def assert_close(found, expected, rtol):
    """Agree up to rounding, in units of the largest entry."""
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= rtol * float(expected.abs().max())


@pytest.fixture(scope="module", params=KINDS)
def trained(request):
    """A kind, recorded in a short training beside a memory, with its risk and its modes."""
    kind = KINDS[request.param]
    model = kind.make()
    memory = ls.TaskMemory(
        model, kind.select, method=kind.method, strength=1.0, n_modes=2, window=STEPS, ratio=kind.ratio
    )
    batches, rows = kind.batches(), []
    optimizer = torch.optim.SGD(kind.parameters(model), lr=0.05)
    recorder = ls.TrajectoryRecorder(model, optimizer, memory.space)
    with recorder, memory.training(optimizer):
        for step in range(STEPS):
            model.train()
            kind.set_mode(model)
            optimizer.zero_grad()
            total, count = kind.plain(model, batches[step % len(batches)])
            (total / count).backward()
            optimizer.step()
            rows.append(nn.utils.parameters_to_vector(kind.parameters(model)).detach().clone())
    risk = kind.risk(model, memory.space)
    modes = ls.principal_modes(recorder.trajectory(), 2)
    return types.SimpleNamespace(
        kind=kind, model=model, memory=memory, recorder=recorder, rows=torch.stack(rows), risk=risk, modes=modes
    )


def test_loss_and_gradient(trained):
    kind, model, risk = trained.kind, trained.model, trained.risk
    w = risk.w0 + 0.01 * torch.randn(risk.space.dim, generator=torch.Generator().manual_seed(0)).double()
    sums, counts, gradients = kind.by_loop(model, w, kind.batches())
    assert_close(risk(w), sums.sum() / counts.sum(), kind.rtol)
    assert_close(risk.gradient(w), gradients.sum(dim=0) / counts.sum(), kind.rtol)


def test_recorded_rows_are_the_weights_after_each_step(trained):
    recorded = torch.stack([trained.recorder.trajectory().row(k) for k in range(-STEPS, 0)])
    assert torch.equal(recorded, trained.rows)


def test_flatness_ends_where_the_loss_is_the_ratio_times_that_at_w0(trained):
    """A crossing is known to rtol, and ln L there to rtol times d ln L/d ln theta, which is below 1 here."""
    kind, model, risk = trained.kind, trained.model, trained.risk
    directions = trained.modes.directions.double()
    found = ls.flatness(risk, risk.w0, directions, ratio=kind.ratio, rtol=1e-4)
    assert found.bracketed.all()
    edge = kind.ratio * kind.loss_by_loop(model, risk.w0)
    for axis, left, right in zip(directions, found.left, found.right, strict=True):
        for displacement in (left, right):
            assert_close(kind.loss_by_loop(model, risk.w0 + displacement * axis), edge, 1e-4)


def test_gradient_noise_is_that_of_the_minibatches_of_a_training(trained):
    kind, model, risk = trained.kind, trained.model, trained.risk
    ensemble = risk.minibatches(kind.batch_size) if kind.batch_size is None else risk.minibatches(3, seed=1)
    batches = kind.batches() if kind.batch_size is None else [kind.take(rows) for rows in ensemble.batches]
    _, counts, gradients = kind.by_loop(model, risk.w0, batches)
    directions = trained.modes.directions.double()
    slopes = gradients / counts[:, None] @ directions.T
    found = ls.noise.gradient_noise(ensemble, risk.w0, directions)
    assert_close(found.mean, slopes.mean(dim=0), kind.rtol)
    assert_close(found.covariance, torch.cov(slopes.T, correction=0), kind.rtol)


def test_a_memory_holds_the_weights_where_they_are(trained):
    kind, memory = trained.kind, trained.memory
    if kind.criterion is None:
        memory.consolidate_at(trained.risk)
    else:
        memory.consolidate(kind.criterion, kind.batches())
    w1 = nn.utils.parameters_to_vector(kind.parameters(trained.model)).detach()
    assert float(memory.held(w1)) == 0
    for axis in trained.modes.directions.double():
        assert float(memory.held(w1 + 0.1 * axis)) > 0


def test_a_teacher_that_trains_on_changes_no_risk():
    kind = OWN["distillation, teacher in the criterion"]
    criterion, model = copy.deepcopy(kind.criterion), kind.make()
    risk = ls.EmpiricalRisk(model, criterion, kind.batches())
    before = float(risk(risk.w0))
    criterion.teacher.weight.data += 1
    assert float(risk(risk.w0)) == before == pytest.approx(float(kind.loss_by_loop(model, risk.w0)), rel=1e-12)


def mean_over_pixels(outputs, targets):
    return nn.functional.cross_entropy(outputs["out"], targets, ignore_index=255)


def test_a_mean_over_unequally_many_pixels_is_refused():
    kind = OWN["segmentation with ignored labels"]
    with pytest.raises(InputError, match=r"\(losses, weight\)"):
        ls.EmpiricalRisk(kind.make(), mean_over_pixels, kind.batches())


@pytest.mark.parametrize(
    ("name", "method", "message"),
    [
        ("detector with losses in train mode", EWC(), "the loss of each sample"),
        ("several tasks", EWC("exact"), "negative log-likelihood"),
        ("LSTM, packed", KFAC(), "weights of linear layers"),
    ],
)
def test_a_method_that_cannot_serve_says_so_and_keeps_nothing(name, method, message):
    kind = KINDS[name]
    model = kind.make()

    def keep():
        memory = ls.TaskMemory(model, kind.select, method=method, strength=1.0)
        memory.consolidate_at(kind.risk(model, memory.space))

    with pytest.raises(InputError, match=message) as error:
        keep()
    assert error.value.hint


def test_the_documentation_has_a_row_for_each_kind():
    text = (Path(__file__).parents[3] / "docs/howto/models.md").read_text()
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| ")]
    assert {len(row) for row in rows} == {6}
    assert set(KINDS) <= {row[1].strip() for row in rows}
