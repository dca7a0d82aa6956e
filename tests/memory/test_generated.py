"""Samples that a language model draws of itself."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

import landscope as ls
from landscope.errors import InputError
from landscope.memory import Generated, Replay, Samples
from landscope.memory.replay.generated import generated_samples
from landscope.memory.replay.labelled import IGNORED, Labelled, labelled_samples, logits_of
from landscope.risk.language_model import language_model_losses

TOKENS = torch.randint(5, (6, 8), generator=torch.Generator().manual_seed(0))


class Bigrams(nn.Module):
    """Logits of the next token, one row for each token."""

    def __init__(self, logits):
        super().__init__()
        self.table = nn.Embedding.from_pretrained(logits, freeze=False)

    def forward(self, tokens):
        return self.table(tokens)


def gpt(seed=0):
    torch.manual_seed(seed)
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=5, n_embd=8, n_layer=2, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0)
    )


def drawn(model, samples, seed=0, **options):
    settings = {"count": 5, "length": 8, "prompt": 2, "temperature": 1.0} | options
    return generated_samples(model.eval(), samples, generator=torch.Generator().manual_seed(seed), **settings)


def test_sequences_begin_with_the_tokens_of_samples_and_follow_the_model():
    next_of = torch.full((5, 5), -50.0)
    next_of[torch.arange(5), (torch.arange(5) + 1) % 5] = 50.0  # 0 1 2 3 4 0 ...
    state = torch.get_rng_state()
    found = drawn(Bigrams(next_of), Labelled(TOKENS, TOKENS, shifted=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert found.shifted
    starts = {tuple(row) for row in TOKENS[:, :2].tolist()}
    assert {tuple(row) for row in found.inputs[:, :2].tolist()} <= starts
    assert torch.equal(found.inputs[:, 2:], (found.inputs[:, 1:2] + torch.arange(1, 7)) % 5)
    assert torch.equal(found.labels[:, 2:], found.inputs[:, 2:])
    assert bool((found.labels[:, :2] == IGNORED).all())


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_tokens_have_the_probabilities_of_the_model_at_a_temperature(temperature):
    logits = torch.log(torch.tensor([0.7, 0.2, 0.1])).expand(3, 3).clone()
    tokens = torch.zeros(1, 30).long()
    found = drawn(
        Bigrams(logits), Labelled(tokens, tokens, shifted=True), count=200, length=30, prompt=1, temperature=temperature
    )
    share = found.inputs[:, 1:].flatten().bincount(minlength=3) / (200 * 29)
    expected = torch.tensor([0.7, 0.2, 0.1]) ** (1 / temperature)
    expected /= expected.sum()
    assert bool(((share - expected).abs() < 5 * (expected * (1 - expected) / (200 * 29)).sqrt()).all())


def test_a_model_with_a_cache_draws_what_a_plain_loop_draws():
    model = gpt().eval()
    with torch.no_grad():  # differences between logits that rounding cannot hide
        for parameter in model.parameters():
            parameter.mul_(5.0)
    samples = Labelled({"input_ids": TOKENS, "attention_mask": torch.ones_like(TOKENS)}, TOKENS, shifted=True)
    found = drawn(model, samples)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(6, (5,), generator=generator)
    tokens = TOKENS[rows, :2]
    with torch.no_grad():
        for _ in range(6):
            p = model(input_ids=tokens).logits[:, -1].softmax(1)
            tokens = torch.cat([tokens, torch.multinomial(p, 1, generator=generator)], dim=1)
    assert torch.equal(found.inputs["input_ids"], tokens)
    assert set(found.inputs) == {"input_ids"}


def test_a_prompt_begins_after_filling_and_sequences_are_no_longer_than_the_samples():
    mask = (torch.arange(8) >= torch.arange(6)[:, None]).long()
    samples = Labelled({"input_ids": TOKENS, "attention_mask": mask}, TOKENS, shifted=True)
    found = drawn(gpt(), samples, length=100, count=30)
    assert found.inputs["input_ids"].shape == (30, 8)
    starts = {(int(TOKENS[row, row]), int(TOKENS[row, row + 1])) for row in range(6)}
    assert {tuple(row) for row in found.inputs["input_ids"][:, :2].tolist()} == starts


def test_what_is_no_language_is_refused():
    other = Labelled(TOKENS, TOKENS.flip(0), shifted=False)
    with pytest.raises(InputError, match="their own labels"):
        drawn(gpt(), other)
    with pytest.raises(InputError, match="more than 9 tokens"):
        drawn(gpt(), Labelled(TOKENS, TOKENS, shifted=True), prompt=9)


def test_the_loss_of_tokens_is_that_of_the_model_and_filling_does_not_count():
    model = gpt().eval()
    batches = [{"input_ids": rows, "labels": rows.clone()} for rows in (TOKENS[:4], TOKENS[4:, :5])]
    batches[0]["labels"][0, :4] = -100
    samples = labelled_samples(batches)
    assert samples.shifted
    assert samples.inputs["input_ids"].shape == (6, 8)
    logits, labels = logits_of(model, samples)
    total = sum(language_model_losses(model(batch["input_ids"]), batch["labels"])[0].sum() for batch in batches)
    torch.testing.assert_close(F.cross_entropy(logits, labels, reduction="sum"), total)
    aligned = labelled_samples((TOKENS[:, :-1], TOKENS[:, 1:]))  # targets that a user has shifted
    logits, labels = logits_of(model, aligned)
    assert torch.equal(labels, TOKENS[:, 1:].flatten())


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
@pytest.mark.parametrize(
    ("source", "named"), [(Samples(3), False), (Generated(count=40, length=8), False), (Generated(count=40), True)]
)
def test_replay_keeps_a_language(source, named):
    """A model that knows one order of tokens learns another."""
    orders = [(torch.arange(8) * step + torch.arange(5)[:, None]) % 5 for step in (1, 2)]
    model = gpt() if named else nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 5))

    def logits(tokens):
        return model(input_ids=tokens).logits if named else model(tokens)

    def loss_of(tokens):
        return F.cross_entropy(logits(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())

    def train(tokens, steps, optimizer):
        for _ in range(steps):
            optimizer.zero_grad()
            loss_of(tokens).backward()
            optimizer.step()

    train(orders[0], 40, torch.optim.Adam(model.parameters(), lr=0.05))
    data = [{"input_ids": orders[0], "labels": orders[0]}] if named else (orders[0], orders[0])
    state, losses = copy.deepcopy(model.state_dict()), []
    for replay in (None, Replay(16, source)):
        model.load_state_dict(state)
        memory = ls.TaskMemory(model, method="l2", strength=0.0, replay=replay)
        memory.consolidate(language_model_losses, data)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        with memory.training(optimizer):
            train(orders[1][:2], 25, optimizer)
        losses.append(loss_of(orders[0]).item())
    assert losses[1] < 0.5 * losses[0]
