"""A small language model that learns one text and then another."""

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from landscope.errors import InputError
from landscope.reproduction.experiment.datasets.texts import byte_sequences, python_texts
from landscope.reproduction.sequential.language import FineTuning, FineTuningSettings
from landscope.reproduction.sequential.low_rank import add_low_rank, merge_low_rank
from landscope.reproduction.sequential.methods import MethodSettings

pytestmark = pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")  # a GPT-2 cannot be traced


def gpt2(seed=0):
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=256, n_positions=24, n_embd=16, n_layer=1, n_head=2, attn_implementation="eager",
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
    for share, expected in ((1.0, plain[1]), (0.0, plain[0])):  # the ends of the line, in one training
        line = learnt.learn_second(MethodSettings("interpolation", share))
        assert torch.allclose(line.error[1], expected, rtol=1e-5)
        assert float(line.seconds[1]) >= float(learnt._free_end()[1][1])
    halfway = learnt.learn_second(MethodSettings("midpoint"))
    assert torch.equal(halfway.error, learnt.learn_second(MethodSettings("interpolation", 0.5)).error)
    assert int(halfway.n_stored[-1]) == halfway.dim


def test_a_budget_at_the_end_is_the_memory_of_a_user():
    texts = [byte_sequences(text[:8000], 24) for text in python_texts().values()]  # answers are drawn for long rows
    learnt = FineTuning(gpt2(), texts, FineTuningSettings(**{**SHORT, "steps": (100, 40), "max_samples": 12}))
    held = learnt.learn_second(MethodSettings("basin-budget-at-end"))
    assert held.error[1, 0] < 1.05 * held.error[0, 0]  # the budget, here on other samples than those that hold it
    assert held.error[1, 1] < held.error[0, 1]
    assert 1 < held.stored_over_weights < 20


def test_merged_changes_of_low_rank_leave_the_outputs():
    model, linear = gpt2(), nn.Sequential(nn.Linear(3, 5))
    add_low_rank(model, "*.c_fc", 2)
    add_low_rank(linear, "0", 2)
    torch.manual_seed(0)
    for network, x in ((model, {"input_ids": TEXTS[0][0][:2]}), (linear, {"input": torch.randn(4, 3)})):
        for name, parameter in network.named_parameters():
            if name.endswith("up"):
                parameter.data.normal_()
        before = network(**x)
        merge_low_rank(network)
        after = network(**x)
        pair = (before, after) if isinstance(before, torch.Tensor) else (before.logits, after.logits)
        assert torch.allclose(*pair, atol=1e-5)
        assert not any(p.any() for name, p in network.named_parameters() if name.endswith("up"))


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
