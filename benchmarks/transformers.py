"""Flatness of the last layer of a transformer: what comes before it is evaluated once, not at every point."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

import landscope as ls
from benchmarks.measure import Row, in_turns, ratio
from landscope.adapters.huggingface import language_model_losses

__all__ = ["trained", "transformers"]

_WORDS, _LENGTH, _WIDTH, _TEXTS = 50, 32, 64, 32
_DEPTHS = (4, 6, 8, 12)
_REPEATS, _STEPS = 3, 60


def transformers(subject: object) -> list[Row]:  # noqa: ARG001 - groups share a form
    """Rows of tiny GPT-2 models of several depths."""
    rows = []
    for depth in _DEPTHS:
        rows += _of_depth(depth)
    return rows


def _of_depth(depth: int) -> list[Row]:
    model, texts = trained(depth)
    select = f"transformer.h.{depth - 1}.mlp.*"
    batches = [{"input_ids": part, "labels": part} for part in texts]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ls.EmpiricalRisk(model, language_model_losses, batches, space=ls.ParameterSpace.of(model, select))
    directions = torch.randn(3, found.w0.numel(), generator=torch.Generator().manual_seed(1))
    directions /= torch.linalg.vector_norm(directions, dim=1, keepdim=True)
    plain = _whole_model(model, found.space, texts)
    widths: dict[str, Tensor] = {}

    def measure(name: str, landscape: object) -> None:
        widths[name] = ls.flatness(landscape, found.w0, directions, ratio=1.1).width

    times = in_turns({"cut": lambda: measure("cut", found), "whole": lambda: measure("whole", plain)}, _REPEATS)
    torch.testing.assert_close(widths["cut"], widths["whole"], rtol=1e-3, atol=0)
    away = float((widths["cut"] / widths["whole"] - 1).abs().max())
    bound = _products(depth)
    name = f"GPT-2 of {depth} blocks, last MLP selected"
    return [
        Row.of(f"{name}: flatness of 3 directions", "s", times["cut"], f"widths differ by {away:.0e} at most"),
        Row.of(
            f"{name}: whole model at every point / landscope", "x", ratio(times["whole"], times["cut"]),
            f"all products of matrices / those after the cut = {bound:.1f}; the GELU behind the cut is one operation "
            "of torch, the others are skipped",
        ),
    ]  # fmt: skip


def _products(depth: int) -> float:
    """Multiplications of the whole model over those behind the cut, for each token."""
    square, attention, head = _WIDTH**2, 2 * _LENGTH * _WIDTH, _WORDS * _WIDTH
    return (depth * (12 * square + attention) + head) / (8 * square + head)


def trained(depth: int) -> tuple[nn.Module, list[Tensor]]:
    """A model after a few steps on texts in which each word follows from the one before, two times out of three."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(_WORDS, (4 * _TEXTS, _LENGTH), generator=generator)
    follows = torch.rand(ids.shape, generator=generator) < 2 / 3
    for place in range(1, _LENGTH):
        ids[:, place] = torch.where(follows[:, place], (3 * ids[:, place - 1] + 1) % _WORDS, ids[:, place])
    torch.manual_seed(0)
    sizes = {"vocab_size": _WORDS, "n_positions": _LENGTH, "n_embd": _WIDTH, "n_layer": depth, "n_head": 4}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))
    optimizer, texts = torch.optim.Adam(model.parameters(), lr=3e-3), list(ids.split(_TEXTS))
    for step in range(_STEPS):
        optimizer.zero_grad()
        model(input_ids=texts[step % 4], labels=texts[step % 4]).loss.backward()
        optimizer.step()
    return model.eval(), texts


def _whole_model(model: nn.Module, space: ls.ParameterSpace, texts: list[Tensor]) -> object:
    """The same loss as a user would write it: one call of the model for each batch."""

    def loss(w: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for ids in texts:
            logits = torch.func.functional_call(model, space.unflatten(w), (), {"input_ids": ids}).logits
            losses = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
            total += losses.double().sum()
        return total / sum(ids[:, 1:].numel() for ids in texts)

    @torch.no_grad()
    def landscape(w: Tensor) -> Tensor:
        return torch.stack([loss(point) for point in w.reshape(-1, space.dim)]).reshape(w.shape[:-1])

    return landscape
