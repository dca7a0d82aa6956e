"""A GPT-2 of one narrow block, sentences of random tokens, and their losses, for tests of the Trainers."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from landscope.adapters import huggingface


def gpt2():
    torch.manual_seed(1)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=13, n_positions=12, n_embd=8, n_layer=1, n_head=2, attn_implementation="eager")
    )


def sentences():
    rows = torch.randint(13, (24, 7), generator=torch.Generator().manual_seed(2))
    return [{"input_ids": row, "labels": row} for row in rows]


def token_losses(model, batch):
    return huggingface.language_model_losses(model(**batch), batch["labels"])
