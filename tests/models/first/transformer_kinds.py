"""Models of transformers: classifiers, language models and image models, with and without low-rank adapters."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ConvNextConfig,
    ConvNextForImageClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ViTConfig,
    ViTForImageClassification,
)

from landscope.adapters.huggingface import language_model_losses
from landscope.memory import EWC, KFAC, LDC
from models.first.kind import Kind, M, mean_of, select_rows

CLASSES = 3


def seeded(make):
    """A model of fixed weights, in float64 and eval mode."""

    def model():
        torch.manual_seed(1)
        return make().double().eval()

    return model


def data():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 7, (M, 6), generator=generator)
    lengths = torch.randint(3, 7, (M,), generator=generator)
    mask = (torch.arange(6) < lengths[:, None]).long()
    images = torch.randn(M, 3, 8, 8, generator=generator).double()
    return tokens * mask, mask, images, torch.arange(M) % CLASSES


TOKENS, MASK, IMAGES, LABELS = data()


TINY = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {"vocab_size": 7, "bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.4}
IMAGE = {"num_channels": 3, "num_labels": CLASSES}


def bert():
    config = BertConfig(**TINY, vocab_size=7, max_position_embeddings=6, num_labels=CLASSES)
    return BertForSequenceClassification(config)


def gpt2():
    return GPT2LMHeadModel(GPT2Config(**TEXT, n_embd=8, n_layer=2, n_head=2, n_positions=6))


def llama():
    config = LlamaConfig(**TINY, **TEXT, num_key_value_heads=1, max_position_embeddings=6, pad_token_id=0)
    return LlamaForCausalLM(config)


def vit():
    return ViTForImageClassification(ViTConfig(**TINY, **IMAGE, image_size=8, patch_size=4))


def convnext():
    config = ConvNextConfig(**IMAGE, patch_size=2, hidden_sizes=[4, 6], depths=[1, 1], num_stages=2)
    return ConvNextForImageClassification(config)


class LowRank(nn.Module):
    """A linear layer at rest with a low-rank adapter: ``layer(x) + up(down(x))``."""

    def __init__(self, layer, rank=2):
        super().__init__()
        self.layer = layer.requires_grad_(False)
        n_out, n_in = layer.nf, layer.weight.shape[0]
        self.down, self.up = nn.Linear(n_in, rank, bias=False), nn.Linear(rank, n_out, bias=False)

    def forward(self, x):
        return self.layer(x) + self.up(self.down(x))


def adapted():
    model = gpt2().requires_grad_(False)
    for block in model.transformer.h:
        block.attn.c_attn = LowRank(block.attn.c_attn)
    return model


def texts(rows):
    return {"input_ids": TOKENS[rows], "attention_mask": MASK[rows], "labels": LABELS[rows]}


def language(rows):
    """Tokens as inputs and as labels; padding is ignored."""
    return {
        "input_ids": TOKENS[rows], "attention_mask": MASK[rows],
        "labels": TOKENS[rows].masked_fill(MASK[rows] == 0, -100),
    }  # fmt: skip


def pictures(rows):
    return select_rows({"pixel_values": IMAGES, "labels": LABELS}, rows)


@mean_of
def labelled(model, batch):
    """Cross-entropy of a classifier of transformers, without its own loss."""
    logits = model(**{name: part for name, part in batch.items() if name != "labels"}).logits
    return torch.stack([-row.log_softmax(0)[label] for row, label in zip(logits, batch["labels"], strict=True)])


def next_tokens(model, batch):
    """Cross-entropy of every counted token given those before it; transformers' own loss is in float32."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    counted = batch["labels"][:, 1:] != -100
    logs, labels = logits[:, :-1][counted].log_softmax(1), batch["labels"][:, 1:][counted]
    return -logs[torch.arange(len(labels)), labels].sum(), len(labels)


CROSS_ENTROPY = nn.CrossEntropyLoss()
TRANSFORMERS = {
    "BERT classifier": Kind(
        seeded(bert),
        texts,
        labelled,
        CROSS_ENTROPY,
        select=("bert.encoder.layer.1.*", "classifier.*"),
    ),
    "GPT-2": Kind(
        seeded(gpt2),
        language,
        next_tokens,
        language_model_losses,
        select="transformer.h.1.mlp.*",
        method=KFAC(),
        ratio=1.02,
    ),
    "low-rank adapters": Kind(
        seeded(adapted),
        language,
        next_tokens,
        language_model_losses,
        select=("*.down.*", "*.up.*"),
        method=LDC(),
        ratio=1.02,
    ),
    "ViT": Kind(seeded(vit), pictures, labelled, CROSS_ENTROPY, method="mas"),
    "Llama": Kind(
        seeded(llama),
        language,
        next_tokens,
        language_model_losses,
        select="model.layers.1.*",
        method=EWC("empirical"),
        ratio=1.02,
        rtol=1e-5,  # its normalisation is in float32
    ),
    "ConvNeXt": Kind(seeded(convnext), pictures, labelled, F.cross_entropy, method="ldc"),
}
