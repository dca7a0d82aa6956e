"""Language models are measured by the mean loss of a token, as their own loss is, at every point of a line."""

import copy

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import landscope as ls
from landscope.adapters.huggingface import language_model_losses
from landscope.memory import interpolation

SIZES = {"vocab_size": 16, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 6}


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_the_loss_of_a_token_is_that_of_the_model(tmp_path):
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**SIZES, bos_token_id=0, eos_token_id=0))
    old = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    tokens = torch.randint(16, (5, 6))
    labels = tokens.masked_fill(torch.rand(5, 6) < 0.2, -100)
    data = [{"input_ids": tokens, "labels": labels}]
    expected = [each.eval()(input_ids=tokens, labels=labels).loss.item() for each in (old, model)]
    model.train()
    line = interpolation(model, old, {"a": data}, language_model_losses, points=3)
    assert line.values[[0, -1], 0].tolist() == pytest.approx(expected, rel=1e-5)
    memory = ls.TaskMemory(model, method="l2", strength=0.0)
    memory.consolidate(language_model_losses, data)
    found = memory.report({"a": data}, language_model_losses, path=tmp_path / "report.html")
    assert found.matrix.values.item() == pytest.approx(expected[1], rel=1e-5)
    assert model.training
