"""A small language model that learns one text and then another."""

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from landscope.errors import InputError
from landscope.reproduction.experiment.datasets.texts import byte_sequences, python_texts
from landscope.reproduction.sequential.language import FineTuning, FineTuningSettings
from landscope.reproduction.sequential.low_rank import add_low_rank
from landscope.reproduction.sequential.methods import MethodSettings

pytestmark = pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")  # a GPT-2 cannot be traced


def gpt2(seed=0):
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=256, n_positions=16, n_embd=16, n_layer=1, n_head=2, attn_implementation="eager",
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


TEXTS = [byte_sequences(text[:8000], 16) for text in python_texts().values()]
SHORT = {"steps": (150, 60), "learning_rate": 3e-3, "n_modes": 8, "window": 40, "max_samples": 50}


def test_texts_are_cut_into_rows_and_nothing_is_lost():
    for text in python_texts().values():
        train, test = byte_sequences(text, 32)
        rows = torch.cat([train, test])
        assert bytes(rows.flatten().tolist()) == text[: rows.numel()]
        assert rows.numel() > len(text) - 32
        assert len(test) == len(rows) // 10
    with pytest.raises(InputError, match="a text of 320 bytes"):
        byte_sequences(b"short", 32)


@pytest.mark.parametrize("low_rank", [None, 2])
def test_the_first_text_is_held_and_the_second_learnt(low_rank):
    learnt = FineTuning(gpt2(), TEXTS, FineTuningSettings(low_rank=low_rank, **SHORT))
    tried = {"none": None, "l2": 3.0, "ldc-floor": 40.0, "ewc-empirical": 100.0}
    results = {method: learnt.learn_second(MethodSettings(method, strength)) for method, strength in tried.items()}
    plain = results["none"].error
    assert torch.equal(learnt.learn_second(MethodSettings("none")).error, plain)  # each goes on from the same place
    assert plain[1, 0] > plain[0, 0]  # forgotten
    assert plain[1, 1] < plain[0, 1]  # learnt
    for method in ("l2", "ldc-floor", "ewc-empirical"):
        assert results[method].error[1, 0] < plain[1, 0]
        assert int(results[method].n_stored[-1]) > 0
        assert float(results[method].consolidation_seconds[0]) > 0
    if low_rank is not None:
        assert results["none"].dim == 2 * 16 + 2 * 64


def test_changes_of_low_rank_begin_as_nothing_and_leave_the_rest():
    model = gpt2()
    rows = TEXTS[0][0][:4]
    before, weights = model(input_ids=rows).logits.detach(), {n: p.clone() for n, p in model.named_parameters()}
    add_low_rank(model, "*.c_fc", 2)
    assert torch.equal(model(input_ids=rows).logits, before)
    free = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert [name.rpartition(".")[2] for name in free] == ["down", "up"]
    kept = {name.replace(".layer.", "."): p for name, p in model.named_parameters() if name not in free}
    assert all(torch.equal(kept[name], value) for name, value in weights.items())
    linear = nn.Sequential(nn.Linear(3, 5))
    add_low_rank(linear, "0", 1)
    linear[0].up.data.fill_(1.0)
    x = torch.randn(2, 3)
    assert torch.allclose(linear(x), linear[0].layer(x) + (x @ linear[0].down).expand(2, 5))
    with pytest.raises(InputError, match="layers like"):
        add_low_rank(model, "nothing", 2)
