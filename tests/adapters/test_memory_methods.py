"""Every method of a task memory with the outputs of transformers, against loops over samples."""

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

import landscope as ls
from landscope.errors import InputError
from landscope.memory import EWC, METHODS
from landscope.risk.language_model import language_model_losses

SAMPLES = 4


def classifier():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12,
        max_position_embeddings=8, num_labels=3,
    )  # fmt: skip
    model = BertForSequenceClassification(config).double().eval()
    batch = {
        "input_ids": torch.randint(11, (SAMPLES, 5)),
        "attention_mask": torch.tensor([[1] * 5] * 3 + [[1, 1, 1, 0, 0]]),
    }
    return model, batch, torch.tensor([0, 1, 2, 1])


def language_model():
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=7, n_embd=8, n_layer=1, n_head=2, n_positions=6)
    model = GPT2LMHeadModel(config).double().eval()
    return model, torch.randint(7, (SAMPLES, 5))


def gradient(value, tensors):
    found = torch.autograd.grad(value, tensors, retain_graph=True, allow_unused=True)
    return torch.cat([(torch.zeros_like(t) if g is None else g).flatten() for g, t in zip(found, tensors, strict=True)])


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_a_classifier_of_transformers_has_every_fisher_information():
    model, batch, labels = classifier()
    risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), [{**batch, "labels": labels}])
    tensors, fisher = risk.space.tensors(model), risk.fisher_information()
    exact, own, moved = (torch.zeros(risk.space.dim).double() for _ in range(3))
    vector, product = torch.randn(risk.space.dim).double(), torch.zeros(risk.space.dim).double()
    for k in range(SAMPLES):
        logits = model(**{name: value[k : k + 1] for name, value in batch.items()}).logits[0]
        logs = logits.log_softmax(dim=0)
        for log in logs:
            slope = gradient(log, tensors)
            exact += log.exp().detach() * slope.square() / SAMPLES
            product += log.exp().detach() * slope * (slope @ vector) / SAMPLES
        own += gradient(logs[labels[k]], tensors).square() / SAMPLES
        moved += gradient(logits.square().sum(), tensors).abs() / SAMPLES
    close = {"rtol": 1e-7, "atol": 1e-13}
    assert torch.allclose(fisher.diagonal(risk.w0), exact, **close)
    assert torch.allclose(fisher.diagonal(risk.w0, "empirical"), own, **close)
    assert torch.allclose(fisher.output_sensitivity(risk.w0), moved, **close)
    assert torch.allclose(fisher.product(risk.w0, vector), product, **close)
    assert torch.allclose(risk.gauss_newton_product(risk.w0, vector), product, **close)


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_a_language_model_has_a_fisher_information_of_its_tokens():
    model, tokens = language_model()
    risk = ls.EmpiricalRisk(model, language_model_losses, [{"input_ids": tokens, "labels": tokens}])
    tensors, fisher = risk.space.tensors(model), risk.fisher_information()
    exact, own = (torch.zeros(risk.space.dim).double() for _ in range(2))
    for text in tokens:
        logs = model(text[None]).logits[0].log_softmax(dim=1)
        for position in range(4):
            for log in logs[position]:
                exact += log.exp().detach() * gradient(log, tensors).square() / (4 * SAMPLES)
        own += gradient(logs[torch.arange(4), text[1:]].sum(), tensors).square() / (4 * SAMPLES)
    assert torch.allclose(fisher.diagonal(risk.w0), exact, rtol=1e-7, atol=1e-13)
    assert torch.allclose(fisher.diagonal(risk.w0, "empirical"), own, rtol=1e-7, atol=1e-13)


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
@pytest.mark.parametrize("method", [*METHODS, "ewc-empirical", "ewc-drawn"])
def test_every_method_keeps_a_task_of_transformers(method):
    chosen = {"ewc-empirical": EWC("empirical"), "ewc-drawn": EWC("monte-carlo", n_draws=2)}.get(method, method)
    model, batch, labels = classifier()
    memory = ls.TaskMemory(model, "classifier.*", method=chosen, strength=1.0, n_modes=2, window=4, ratio=1.1)
    memory.check(nn.CrossEntropyLoss(), [{**batch, "labels": labels}])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with memory.training(optimizer):
        for _ in range(6):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(**batch).logits, labels).backward()
            optimizer.step()
    memory.consolidate(nn.CrossEntropyLoss(), [{**batch, "labels": labels}])
    w = memory.space.flatten(model)
    assert float(memory.held(w)) == pytest.approx(0.0, abs=1e-12)
    assert float(memory.held(w + torch.randn(len(w), generator=torch.Generator().manual_seed(0)).to(w))) > 0


class AsMapping(nn.Module):
    """A model that returns a plain dictionary."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids=None, labels=None):  # labels are the criterion's
        return {"loss": None, "logits": self.model(input_ids=input_ids).logits}


def losses_of_mapping(outputs, labels):
    return language_model_losses(outputs["logits"], labels)


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
@pytest.mark.parametrize("form", ["dataclass", "mapping"])
@pytest.mark.parametrize("method", [*METHODS, "ewc-empirical", "ewc-batch"])
def test_every_method_keeps_a_language_model(method, form):
    named = {"ewc-empirical": EWC("empirical"), "ewc-batch": EWC("batch-mean", batch_size=2)}
    model, tokens = language_model()
    criterion = language_model_losses
    if form == "mapping":
        model, criterion = AsMapping(model), losses_of_mapping
    chosen, data = named.get(method, method), [{"input_ids": tokens, "labels": tokens}]
    memory = ls.TaskMemory(model, "*.mlp.*", method=chosen, strength=1.0, n_modes=2, window=4, ratio=1.01)
    memory.check(criterion, data)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with memory.training(optimizer):
        for _ in range(6):
            optimizer.zero_grad()
            total, counts = criterion(model(input_ids=tokens), tokens)
            (total.sum() / counts.sum()).backward()
            optimizer.step()
    memory.consolidate(criterion, data)
    w = memory.space.flatten(model)
    assert float(memory.held(w)) == pytest.approx(0.0, abs=1e-12)
    assert float(memory.held(w + torch.randn(len(w), generator=torch.Generator().manual_seed(0)).to(w))) > 0


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_squares_of_minibatches_of_tokens():
    """Mean over minibatches of the squared gradient of the mean loss of a token; batch sizes are an option."""
    model, tokens = language_model()
    data = [{"input_ids": tokens, "labels": tokens.masked_fill(torch.arange(5) == 3, -100)}]
    memory = ls.TaskMemory(model, "*.mlp.*", method=EWC("batch-mean", batch_size=2), strength=1.0)
    memory.consolidate(language_model_losses, data)
    expected = torch.zeros(memory.space.dim).double()
    for rows in (slice(0, 2), slice(2, 4)):
        total, counts = language_model_losses(model(tokens[rows]), data[0]["labels"][rows])
        expected += gradient(total.sum() / counts.sum(), memory.space.tensors(model)).square() / 2
    scale = memory.held.stiffness / expected
    assert torch.allclose(memory.held.stiffness, scale.nanmedian() * expected, rtol=1e-6)
    assert float(scale.nanmedian()) == pytest.approx(0.5)  # V is half the information, as for every kind
    with pytest.raises(InputError, match="batch_size to be an integer between 1 and 4"):
        ls.TaskMemory(model, "*.mlp.*", method=EWC("batch-mean"), strength=1.0).check(language_model_losses, data)


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_more_words_are_held_in_the_part_that_was_known():
    """``resize_token_embeddings`` between two tasks: tied weights grow, the old rows stay held."""
    model, tokens = language_model()
    memory = ls.TaskMemory(model, method=EWC("empirical"), strength=1.0)
    memory.consolidate(language_model_losses, [{"input_ids": tokens, "labels": tokens}])
    anchor = model.transformer.wte.weight.detach().clone()
    model.resize_token_embeddings(9, mean_resizing=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def train():
        with memory.training(optimizer):
            model(input_ids=tokens, labels=tokens).loss.backward()
            optimizer.step()

    with pytest.warns(UserWarning, match="held in the part that both shapes have: transformer.wte.weight"):
        train()
    w = memory.space.flatten(model)
    rows = memory.space.unflatten(memory.held.gradient(w))["transformer.wte.weight"]
    assert torch.equal(rows[7:], torch.zeros(2, 8).double())
    away = model.transformer.wte.weight.detach()[:7] - anchor
    assert torch.equal(rows[:7].sign(), away.sign() * (rows[:7] != 0))
    assert float(rows[:7].abs().max()) > 0


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_functions_of_a_batch_have_all_but_the_exact_one():
    """The losses of each sample from the logits inside a function; a loss made inside the model has no outputs."""
    model, batch, labels = classifier()
    data = [{**batch, "labels": labels}]
    space = ls.ParameterSpace.of(model, "classifier.*")

    def losses(model, batch):
        outputs = model(**{name: batch[name] for name in ("input_ids", "attention_mask")})
        return nn.functional.cross_entropy(outputs.logits, batch["labels"], reduction="none")

    risk = ls.EmpiricalRisk.from_closure(model, losses, data, space=space)
    known = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), data, space=space)
    own, same = risk.fisher_information(), known.fisher_information()
    for kind in ("empirical", "batch-mean"):
        assert torch.allclose(own.diagonal(risk.w0, kind, batch_size=2), same.diagonal(risk.w0, kind, batch_size=2))
    assert torch.allclose(own.diagonal(risk.w0, "gauss-newton"), same.diagonal(risk.w0), atol=1e-12)
    assert torch.allclose(own.output_sensitivity(risk.w0), same.output_sensitivity(risk.w0))
    vector = torch.randn(space.dim).double()
    assert torch.allclose(risk.gauss_newton_product(risk.w0, vector), same.product(risk.w0, vector))
    with pytest.raises(InputError, match=r"negative log-likelihood.*from_closure"):
        own.diagonal(risk.w0)

    def inside(model, batch):
        return model(**batch).loss * SAMPLES, SAMPLES

    risk = ls.EmpiricalRisk.from_closure(model, inside, data, space=space)
    with pytest.raises(InputError, match="not known to be the sum over its samples"):
        risk.fisher_information().diagonal(risk.w0, "empirical")
    with pytest.raises(InputError, match="inside the model"):
        risk.gauss_newton_product(risk.w0, vector)


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_what_cannot_serve_is_said_before_training():
    model, batch, labels = classifier()
    memory = ls.TaskMemory(model, "classifier.*", method=EWC("exact"), strength=1.0)
    with pytest.raises(InputError, match="negative log-likelihood"):
        memory.check(lambda outputs, y: nn.functional.multi_margin_loss(outputs.logits, y, reduction="none"),
                     [{**batch, "labels": labels}])  # fmt: skip
    assert memory.held is None
    assert memory.n_tasks == 0


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_layers_that_store_their_weight_the_other_way_round_have_kronecker_factors():
    """Of the first layer of a GPT-2 block: inputs from a hook, and a pass for each token and answer."""
    model, tokens = language_model()
    layer, kept = model.transformer.h[0].mlp.c_fc, {}
    space = ls.ParameterSpace.of(model, "transformer.h.0.mlp.c_fc.*")
    risk = ls.EmpiricalRisk(model, language_model_losses, [{"input_ids": tokens, "labels": tokens}], space=space)
    (factors,) = risk.kronecker_factors(risk.w0)
    a, g = torch.zeros_like(factors.inputs), torch.zeros_like(factors.outputs)
    handle = layer.register_forward_hook(lambda _, inputs, output: kept.update(entered=inputs[0], left=output))
    for text in tokens:
        logs = model(text[None]).logits[0].log_softmax(dim=1)
        rows = torch.cat([kept["entered"][0].detach(), torch.ones(5, 1)], dim=1)
        a += rows.T @ rows / SAMPLES
        for position in range(4):
            for log in logs[position]:
                (slope,) = torch.autograd.grad(log, kept["left"], retain_graph=True)
                g += log.exp().detach() * slope[0].T @ slope[0] / 5 / (4 * SAMPLES)
    handle.remove()
    assert torch.allclose(factors.inputs, a, rtol=1e-9)
    assert torch.allclose(factors.outputs, g, rtol=1e-7, atol=1e-15)
    assert torch.equal(risk.w0[factors.columns], torch.cat([layer.weight.T, layer.bias[:, None]], dim=1))
