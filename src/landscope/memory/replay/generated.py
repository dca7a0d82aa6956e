"""Samples that a language model draws of itself, so that nothing real is stored."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor, nn

from landscope.errors import InputError
from landscope.memory.replay.labelled import IGNORED, Labelled, tokens_of
from landscope.memory.replay.model_answers import ModelAnswers
from landscope.risk.data import fits
from landscope.risk.hints import described
from landscope.seeded import kept_random_state

__all__ = ["generated_samples"]

_AT_ONCE = 64
"""Sequences that are drawn together."""
_PLAIN = ModelAnswers()


def generated_samples(
    model: nn.Module,
    samples: Labelled,
    *,
    count: int,
    length: int,
    prompt: int,
    temperature: float,
    generator: torch.Generator,
    answers: ModelAnswers = _PLAIN,
) -> Labelled:
    r"""Sequences that a causal language model draws token by token, with :math:`p(z_{i+1} \mid z_{\le i})^{1 / T}`.

    Each begins with the first tokens of a random sample. These do not count as labels.

    Args:
        model: The model, in eval mode.
        samples: Samples of the task, whose labels are their tokens.
        count: Number of sequences.
        length: Tokens of each, at most as many as the samples have.
        prompt: Number of first tokens that are taken from the samples.
        temperature: T.
        generator: Source of all draws; no other random state moves.
        answers: Gives the logits of the model.

    Returns:
        The sequences in the form of the samples.

    Raises:
        InputError: If the samples are no token sequences that label themselves, or have no more tokens than a prompt.
    """
    tokens = tokens_of(samples.inputs)
    if tokens is None or not samples.shifted:
        raise InputError(
            expected="tokens that are their own labels, as a causal language model has", got="other samples",
            hint="Store real samples, Replay(source=Samples()), or Gaussians of classes, Replay(source=Gaussians()).",
        )  # fmt: skip
    if (length := min(length, tokens.shape[1])) <= prompt:
        raise InputError(
            expected=f"sequences of more than {prompt} tokens, the prompt", got=f"{length} tokens",
            hint="Pass longer samples, a larger length or a smaller prompt.",
        )  # fmt: skip
    rows = torch.randint(len(tokens), (count,), generator=generator)
    begun = _first_tokens(samples.at(rows), prompt)
    device = next(model.parameters()).device
    named = not isinstance(samples.inputs, Tensor)
    with torch.no_grad(), kept_random_state():
        parts = [
            _continued(model, part.to(device), length, temperature, generator, answers, named=named)
            for part in begun.split(_AT_ONCE)
        ]
    drawn = torch.cat(parts).cpu().to(tokens.dtype)
    labels = drawn.to(torch.int64, copy=True)
    labels[:, :prompt] = IGNORED
    return Labelled({"input_ids": drawn} if named else drawn, labels, shifted=True)


def _first_tokens(samples: Labelled, prompt: int) -> Int[Tensor, "m prompt"]:
    """The first tokens of each sample, after any filling at its beginning."""
    tokens = tokens_of(samples.inputs)
    assert tokens is not None  # noqa: S101 - checked before
    mask = samples.inputs.get("attention_mask") if isinstance(samples.inputs, dict) else None
    start = torch.zeros(len(tokens), dtype=torch.int64) if mask is None else mask.long().argmax(1)
    places = (start[:, None] + torch.arange(prompt)).clamp(max=tokens.shape[1] - 1)
    return tokens.gather(1, places)


def _continued(
    model: nn.Module,
    tokens: Int[Tensor, "m start"],
    length: int,
    temperature: float,
    generator: torch.Generator,
    answers: ModelAnswers,
    *,
    named: bool,
) -> Int[Tensor, "m length"]:
    """Tokens, one after another; a model that can goes on from what it computed before."""
    offered = {"input_ids": tokens, "past_key_values": None, "use_cache": True}
    caches = named and answers.outputs is None and fits(model, (), offered)
    cache, fresh = None, tokens
    while tokens.shape[1] < length:
        if caches:
            found = model(input_ids=fresh, past_key_values=cache, use_cache=True)
            cache = getattr(found, "past_key_values", None)
            logits = answers.among(found)
        else:
            logits = answers(model, {"input_ids": tokens} if named else tokens)
        if not isinstance(logits, Tensor) or logits.ndim != 3:
            raise InputError(
                expected="a language model with logits of shape (sequences, tokens, words)", got=described(logits),
                hint=answers.hint({"input_ids": tokens} if named else tokens),
            )  # fmt: skip
        logits = logits[:, -1].float().cpu()
        drawn = torch.multinomial((logits / temperature).softmax(1), 1, generator=generator).to(tokens)
        tokens = torch.cat([tokens, drawn], dim=1)
        fresh = tokens if cache is None else drawn
    return tokens
