"""Transformers skip what comes before the selected weights, and every value is that of the whole model."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ViTConfig,
    ViTForImageClassification,
)

import landscope as ls
from landscope.adapters.huggingface import language_model_losses
from naive import points, slow_loss

WORDS, LENGTH = 11, 6
TINY = {"vocab_size": WORDS, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}


def tokens(texts, seed):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(WORDS, (texts, LENGTH), generator=generator)
    mask = (torch.arange(LENGTH) < LENGTH - torch.arange(texts)[:, None] % 3).long()
    return {"input_ids": ids, "attention_mask": mask}


def texts(size):
    batch = tokens(size, size)
    return {**batch, "labels": torch.where(batch["attention_mask"].bool(), batch["input_ids"], -100)}


def sentences(size):
    return {**tokens(size, size), "labels": torch.arange(size) % 3}


def images(size):
    pixels = torch.randn(size, 3, 8, 8, generator=torch.Generator().manual_seed(size))
    return {"pixel_values": pixels, "labels": torch.arange(size) % 3}


def gpt2():
    sizes = {"vocab_size": WORDS, "n_positions": LENGTH, "n_embd": 8, "n_layer": 2, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))


def llama():
    return LlamaForCausalLM(
        LlamaConfig(**TINY, intermediate_size=16, num_key_value_heads=1, max_position_embeddings=LENGTH)
    )


def bert():
    return BertForSequenceClassification(BertConfig(**TINY, intermediate_size=16, num_labels=3))


def vit():
    config = {name: value for name, value in TINY.items() if name != "vocab_size"}
    return ViTForImageClassification(
        ViTConfig(**config, intermediate_size=16, image_size=8, patch_size=4, num_labels=3)
    )


TRANSFORMERS = {
    "gpt2": (gpt2, texts, language_model_losses, "transformer.h.1.mlp.*"),
    "llama": (llama, texts, language_model_losses, "model.layers.1.mlp.*"),
    "bert": (bert, sentences, F.cross_entropy, "bert.encoder.layer.1.output.*"),
    "vit": (vit, images, F.cross_entropy, "vit.layers.1.mlp.*"),
    "only the head": (bert, sentences, F.cross_entropy, "classifier.*"),
}


def hugging_face_losses(model, batch):
    """Every counted loss, straight from the logits."""
    labels = batch["labels"]
    logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
    if labels.ndim == 1:
        return F.cross_entropy(logits, labels, reduction="none")
    counted = labels[:, 1:] != -100
    return F.cross_entropy(logits[:, :-1][counted], labels[:, 1:][counted], reduction="none")


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_skip_what_comes_before_the_selected_weights(name):
    build, batch_of, criterion, select = TRANSFORMERS[name]
    torch.manual_seed(0)
    model, batches = build(), [batch_of(5), batch_of(3)]
    risk = ls.EmpiricalRisk(model, criterion, batches, space=ls.ParameterSpace.of(model, select))
    expected = slow_loss(model, batches, hugging_face_losses)
    for w in points(risk):
        assert float(risk(w)) == pytest.approx(expected(risk.space, w), rel=2e-6)
    whole = ls.EmpiricalRisk(model, criterion, batches, space=risk.space)
    whole._blocks.stored = None
    w = points(risk)[1]
    torch.testing.assert_close(risk.gradient(w), whole.gradient(w), rtol=1e-4, atol=1e-6)
    assert executed_products(risk, w) < executed_products(whole, w) / 2
    vector = torch.randn_like(w)
    torch.testing.assert_close(
        risk.hessian_vector_product(w, vector), whole.hessian_vector_product(w, vector), rtol=1e-3, atol=1e-4
    )


def executed_products(risk, w):
    """Products of matrices in one evaluation."""

    class Count(TorchDispatchMode):
        n = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.n += func in (torch.ops.aten.addmm.default, torch.ops.aten.mm.default)
            return func(*args, **(kwargs or {}))

    with Count() as count:
        risk(w)
    return count.n


def test_derivatives_of_single_samples_use_their_own_rows():
    torch.manual_seed(0)
    model = gpt2()
    batches = [{**tokens(LENGTH, 1), "labels": torch.arange(LENGTH)}]  # as many texts as tokens: axes look alike

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits[:, -1]

    classifier = Classifier()
    space = ls.ParameterSpace.of(classifier, "model.transformer.h.1.mlp.c_proj.*")
    risk = ls.EmpiricalRisk(classifier, nn.CrossEntropyLoss(), batches, space=space)
    assert risk._blocks.stored is not None
    found = risk.fisher_information().diagonal(risk.w0, kind="empirical")
    squares = torch.zeros(space.dim).double()
    for row in range(LENGTH):
        one = {name: value[row : row + 1] for name, value in batches[0].items()}
        w = risk.w0.clone().requires_grad_()
        arguments = {name: one[name] for name in ("input_ids", "attention_mask")}
        logits = torch.func.functional_call(copy.deepcopy(classifier).eval(), space.unflatten(w), (), arguments)
        squares += torch.autograd.grad(F.cross_entropy(logits, one["labels"]), w)[0].double().square()
    torch.testing.assert_close(found, squares / LENGTH, rtol=1e-3, atol=1e-10)


def test_the_notice_says_what_is_slower_and_what_to_change():
    model = gpt2()
    with pytest.warns(UserWarning, match="at every point") as told:
        ls.EmpiricalRisk(model, language_model_losses, [texts(3)])
    (notice,) = [str(warning.message) for warning in told]
    for words in (
        "landscope evaluates the whole model (GPT2LMHeadModel)", "it takes several inputs",
        "it uses the selected weights from its first layer on", "select weights of later layers",
    ):  # fmt: skip
        assert words in notice
    assert "Error" not in notice
