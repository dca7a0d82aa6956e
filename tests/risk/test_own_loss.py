"""The loss that a model computes itself becomes the criterion that gives the same number."""

import types

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landscope as ls
from landscope.errors import InputError
from landscope.risk.language_model import language_model_losses, token_losses
from landscope.risk.own_loss import own_criterion


class MaskedLMOutput(types.SimpleNamespace):
    """Outputs whose position i predicts label i."""


class Own(nn.Module):
    """A model that returns its loss where it gets labels, as those of transformers do."""

    def __init__(self, loss, n_in=3, n_out=3, output=types.SimpleNamespace):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.dropout, self.loss, self.output = nn.Linear(n_in, n_out), nn.Dropout(0.5), loss, output

    def forward(self, x, labels=None):
        logits = self.dropout(self.linear(x))
        return self.output(loss=None if labels is None else self.loss(logits, labels), logits=logits)


def next_tokens(logits, y):
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), y[:, 1:].flatten())


def tokens(logits, y):
    return F.cross_entropy(logits.flatten(0, 1), y.flatten())


X = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
SEQUENCES = torch.randn(8, 5, 3, generator=torch.Generator().manual_seed(2))
LABELS = torch.arange(8) % 3
TOKENS = torch.randint(3, (8, 5), generator=torch.Generator().manual_seed(3))
TOKENS[:, 2] = -100
CASES = {
    "classes": (F.cross_entropy, X, LABELS, nn.CrossEntropyLoss),
    "several labels": (F.binary_cross_entropy_with_logits, X, F.one_hot(LABELS).float(), nn.BCEWithLogitsLoss),
    "numbers": (F.mse_loss, X, X.flip(0), nn.MSELoss),
    "next tokens": (next_tokens, SEQUENCES, TOKENS, language_model_losses),
    "tokens": (tokens, SEQUENCES, TOKENS, token_losses),
}


def batches(x, y, size=4):
    return [{"x": x[i : i + size], "labels": y[i : i + size]} for i in range(0, len(x), size)]


@pytest.mark.parametrize("case", CASES)
def test_the_criterion_is_that_of_the_model(case):
    loss, x, y, expected = CASES[case]
    model = Own(loss)
    found = own_criterion(model, batches(x, y))
    assert found is expected or type(found) is expected
    own = model.eval()(x, labels=y).loss.item()
    with pytest.warns(UserWarning, match="evaluates the whole model"):
        risk = ls.EmpiricalRisk(model, found, batches(x, y))
    assert float(risk(risk.w0)) == pytest.approx(own, rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_a_memory_without_a_criterion_is_that_with_the_criterion(case):
    loss, x, y, expected = CASES[case]
    memories = []
    for criterion in (None, expected() if isinstance(expected, type) else expected):
        memory = ls.keep(Own(loss), criterion, batches(x, y))
        memories.append(float(memory.held(torch.full((memory.space.dim,), 0.1))))
    assert memories[0] == memories[1] > 0


def test_other_forms_of_data_give_the_same():
    expected = ls.keep(Own(F.cross_entropy), nn.CrossEntropyLoss(), (X, LABELS)).held(torch.ones(12))
    for data in ((X, LABELS), iter(batches(X, LABELS)), [(X, LABELS)], torch.utils.data.TensorDataset(X, LABELS)):
        torch.testing.assert_close(ls.keep(Own(F.cross_entropy), data=data).held(torch.ones(12)), expected)


def test_neither_the_model_nor_a_random_state_changes():
    model = Own(F.cross_entropy).train()
    loader = torch.utils.data.DataLoader(
        batches(X, LABELS, 1), batch_size=None, shuffle=True, generator=torch.Generator().manual_seed(0)
    )
    before, state = torch.get_rng_state(), loader.generator.get_state()
    own_criterion(model, loader)
    assert all(part.training for part in model.modules())
    torch.testing.assert_close((torch.get_rng_state(), loader.generator.get_state()), (before, state))


def test_a_report_and_a_study_take_it_too(tmp_path):
    model = Own(F.cross_entropy)
    data = batches(X, LABELS)
    memory = ls.keep(model, data=data)
    report = memory.report({"old": data}, path=tmp_path / "r.html")
    assert float(report.matrix.values[0, 0]) == pytest.approx(model.eval()(X, labels=LABELS).loss.item(), rel=1e-5)
    study = ls.Study(tmp_path / "s", model, data=data)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with study.record(optimizer):
        for step in range(40):
            optimizer.zero_grad()
            model(X[step % 2 * 4 :][:4], labels=LABELS[step % 2 * 4 :][:4]).loss.backward()
            optimizer.step()
    risk = study.risk()
    assert float(risk(risk.w0)) == pytest.approx(model.eval()(X, labels=LABELS).loss.item(), rel=1e-5)


class NeedsLabels(Own):
    """A model with a decoder, which makes its inputs of the labels."""

    def forward(self, x, labels=None):
        if labels is None:
            raise ValueError("no decoder inputs")
        return super().forward(x, labels)


def penalised(logits, y):
    return F.cross_entropy(logits, y) + 0.1 * logits.square().mean()


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (nn.Linear(3, 3), (X, LABELS), "Linear takes no labels"),
        (Own(penalised), batches(X, LABELS), "0 of 1: .* by CrossEntropyLoss"),
        (Own(tokens, output=dict), batches(SEQUENCES, TOKENS, 1)[0], "iterable of batches"),
        (Own(lambda *_: None), batches(X, LABELS), "a model that returns a loss and logits"),
        (NeedsLabels(F.cross_entropy), batches(X, LABELS), "decoder_input_ids"),
        (Own(F.cross_entropy), [], "at least one sample"),
        (Own(next_tokens), [{"x": SEQUENCES[0], "labels": TOKENS[0]}], "DataLoader"),
        (Own(F.cross_entropy), [{"x": X}], "targets under one of labels"),
        (Own(lambda logits, _: 0 * logits.sum() + 1.5), batches(X, LABELS), "gives the loss 1.5 inside Own"),
    ],
)
def test_what_gives_no_known_loss_is_named(model, data, message):
    with pytest.raises(InputError, match=message):
        ls.keep(model, data=data)


def test_two_criteria_that_give_the_same_number_are_no_answer():
    model = Own(tokens)
    nn.init.zeros_(model.linear.weight)
    nn.init.zeros_(model.linear.bias)
    with pytest.raises(InputError, match="2 of 2"):
        own_criterion(model, batches(SEQUENCES, TOKENS))


def test_the_loss_of_next_tokens_is_refused_where_labels_are_not_shifted():
    model = Own(tokens, output=MaskedLMOutput)
    with pytest.raises(InputError, match="MaskedLMOutput, whose position i predicts label i"):
        ls.keep(model, language_model_losses, batches(SEQUENCES, TOKENS))
    assert own_criterion(model, batches(SEQUENCES, TOKENS)) is token_losses


@pytest.mark.parametrize(
    "call",
    [
        lambda model, data: ls.keep(model, losses=lambda m, batch: m(**batch).loss, data=data),
        lambda model, data: ls.keep(model, lambda outputs, _: outputs.loss, data),
        lambda model, data: ls.keep(model, lambda m, batch: m(**batch).loss, data),
    ],
)
def test_who_passes_the_loss_of_the_model_is_told_to_leave_it_out(call):
    with pytest.raises(InputError, match=r"leave (out )?both"):
        call(Own(F.cross_entropy), batches(X, LABELS))


@pytest.mark.filterwarnings("ignore:.*evaluates the whole model")
@pytest.mark.parametrize("read", [list, iter], ids=["batches", "an iterator"])
def test_a_risk_takes_the_loss_inside_the_model(read):
    model = Own(next_tokens).eval()
    risk = ls.EmpiricalRisk(model, data=read(batches(SEQUENCES, TOKENS)))
    with torch.no_grad():
        expected = next_tokens(model(SEQUENCES).logits, TOKENS)
    assert float(risk(risk.w0)) == pytest.approx(float(expected), rel=1e-6)


def test_a_risk_without_a_criterion_or_data_says_what_to_write():
    with pytest.raises(InputError, match="takes no labels"):
        ls.EmpiricalRisk(nn.Linear(3, 3), data=(X, LABELS))
    with pytest.raises(InputError, match=r"data=batches"):
        ls.EmpiricalRisk(nn.Linear(3, 3), nn.CrossEntropyLoss())
