"""Minibatch noise of models of transformers: the losses of minibatches are those that the models give themselves."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

import landscope as ls
from landscope.adapters.huggingface import language_model_losses
from landscope.noise.springs import Springs

pytestmark = pytest.mark.filterwarnings("ignore:.*could not be traced:UserWarning")

SIZE, B = 12, 4


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=13, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=8, num_labels=3, attn_implementation="eager",
    )  # fmt: skip
    return BertForSequenceClassification(config).double().eval()


@pytest.fixture(scope="module")
def language_model():
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=11, n_positions=8, n_embd=8, n_layer=1, n_head=2, attn_implementation="eager", bos_token_id=0,
        eos_token_id=0, initializer_range=0.5,
    )  # fmt: skip
    return GPT2LMHeadModel(config).double().eval()


def sentences(labels=None):
    """Padded sentences; each has its label, or is its own."""
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(11, (SIZE, 6), generator=generator)
    mask = (torch.arange(6) < torch.randint(3, 7, (SIZE, 1), generator=generator)).long()
    return {
        "input_ids": tokens, "attention_mask": mask,
        "labels": tokens.masked_fill(mask == 0, -100) if labels is None else labels,
    }  # fmt: skip


def cut(data, size=5):
    return [{name: value[k : k + size] for name, value in data.items()} for k in range(0, SIZE, size)]


def check_noise(risk, model, data, loss_of, rtol=1e-8):
    """Losses, gradients, temperatures and springs of minibatches, against the loss of each by ``loss_of``."""
    ensemble, w0 = risk.minibatches(B, seed=0), risk.w0
    losses, gradients = [], []
    for rows in ensemble.batches:
        leaf = w0.clone().requires_grad_()
        batch = {name: value[rows] for name, value in data.items()}
        outputs = torch.func.functional_call(model, dict(risk.space.unflatten(leaf)), (), batch)
        loss = loss_of(outputs, batch["labels"])
        assert float(loss.detach()) == pytest.approx(float(outputs.loss.detach()), rel=1e-6)  # in float32 for tokens
        losses.append(loss.detach())
        gradients.append(torch.autograd.grad(loss, leaf)[0])
    losses, gradients = torch.stack(losses), torch.stack(gradients)
    small = {"rtol": rtol, "atol": rtol * float(gradients.abs().max())}
    torch.testing.assert_close(ensemble.batch_losses(w0), losses, rtol=rtol, atol=0)
    directions = torch.linalg.qr(torch.randn(len(w0), 2, dtype=torch.float64)).Q.T.contiguous()
    noise = ls.noise.gradient_noise(ensemble, w0, directions)
    variance = (gradients @ directions.T).var(dim=0, correction=0)
    torch.testing.assert_close(noise.variance.sqrt(), variance.sqrt(), **small)
    warm = ls.noise.active_temperature(ensemble, w0, directions, torch.zeros(1), learning_rate=2.0)
    torch.testing.assert_close(warm.temperature[:, 0].sqrt(), variance.sqrt(), **small)
    fits = ls.noise.minibatch_ensemble(ensemble, w0, directions[:1], torch.linspace(-0.1, 0.1, 5))
    torch.testing.assert_close(fits.loss0, losses, rtol=rtol, atol=0)
    hessian = ls.noise.log_hessian(ensemble, w0, directions)
    slope = directions @ gradients.mean(dim=0) / losses.mean()
    torch.testing.assert_close(hessian.slope, slope, **small)
    product = torch.stack([ensemble.hessian_vector_product(w0, d) for d in directions]) @ directions.T
    expected = product / losses.mean() - slope[:, None] * slope
    torch.testing.assert_close(hessian.log_hessian, expected, rtol=10 * rtol, atol=10 * small["atol"])


FORMS = {
    "loss of torch": lambda model, data, space: ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), cut(data), space=space),
    "logits": lambda model, data, space: ls.EmpiricalRisk(
        model, lambda outputs, labels: F.cross_entropy(outputs.logits, labels), cut(data), space=space
    ),
    "closure": lambda model, data, space: ls.EmpiricalRisk.from_closure(
        model, lambda m, b: F.cross_entropy(m(**b).logits, b["labels"], reduction="none"), cut(data), space=space
    ),
    "own loss": lambda model, data, space: ls.EmpiricalRisk.from_closure(
        model, lambda m, b: (m(**b).loss * len(b["labels"]), len(b["labels"])), cut(data), space=space
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_classifier_has_all_statistics_of_minibatches(classifier, form):
    data = sentences(torch.arange(SIZE) % 3)
    risk = FORMS[form](classifier, data, ls.ParameterSpace.of(classifier, "classifier.*"))
    check_noise(risk, classifier, data, lambda outputs, labels: F.cross_entropy(outputs.logits, labels))


def counted(batch):
    return int((batch["labels"][:, 1:] != -100).sum())


TOKENS = {
    "criterion": lambda model, data, space: ls.EmpiricalRisk(model, language_model_losses, cut(data), space=space),
    "closure": lambda model, data, space: ls.EmpiricalRisk.from_closure(
        model, lambda m, b: language_model_losses(m(**b), b["labels"]), cut(data), space=space
    ),
    "own loss": lambda model, data, space: ls.EmpiricalRisk.from_closure(
        model, lambda m, b: (m(**b).loss * counted(b), counted(b)), cut(data), space=space
    ),
}


@pytest.mark.parametrize("form", TOKENS)
def test_a_language_model_has_all_statistics_of_minibatches(language_model, form):
    """Texts of different lengths: a minibatch is the mean over its tokens."""
    data = sentences()
    risk = TOKENS[form](language_model, data, ls.ParameterSpace.of(language_model, "*.c_fc.bias"))

    def mean_over_tokens(outputs, labels):
        return F.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())

    # The model's own loss is in float32.
    check_noise(risk, language_model, data, mean_over_tokens, rtol=1e-5 if form == "own loss" else 1e-8)


@pytest.mark.slow
def test_a_study_of_a_language_model_has_springs_and_temperatures(language_model, tmp_path):
    model, data = language_model, sentences()
    rows = [{name: value[k] for name, value in data.items()} for k in range(SIZE)]
    for name, tensor in model.named_parameters():
        tensor.requires_grad_(name.endswith(".c_fc.bias"))
    study = ls.Study(
        tmp_path / "study", model, language_model_losses, DataLoader(rows, batch_size=B), fit_modes=(2, 7),
        flatness_modes=7, spectrum_ranks=(2, 7), n_nulls=0, n_processes=0, noise_modes=5, curvature_modes=5,
        window=(11, 40), ratio=1.001, fresh="none",
    )  # fmt: skip
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.2)
    with study.record(optimizer, "*.c_fc.bias"):
        for step in range(40):
            picked = torch.randperm(SIZE, generator=torch.Generator().manual_seed(step))[:B]
            optimizer.zero_grad()
            model(**{name: value[picked] for name, value in data.items()}).loss.backward()
            optimizer.step()
    model.requires_grad_(True)
    stages = []
    study.analyse(until="noise", progress=lambda stage, done, total: stages.append((stage, done, total)))
    springs = ls.load(study.path / "noise-springs.zarr.zip")
    assert isinstance(springs, Springs)
    assert (springs.n_batches, springs.n_left_out) == (3, 0)
    warm = ls.load(study.path / "noise-temperature.zarr.zip")
    assert bool((warm.temperature > 0).all())
    risk = study.risk()
    noise = ls.noise.gradient_noise(risk.minibatches(B, seed=0), risk.w0, study.modes.directions[:7].to(risk.w0))
    found = ls.load(study.path / "noise-gradient.zarr.zip")
    torch.testing.assert_close(found.variance, noise.variance)
    assert any("noise" in stage.lower() and 0 < done < total for stage, done, total in stages)
