"""A small language model fine-tuned from one text to another, all of it and by changes of low rank."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from landscope.continual import FineTuned, Tuning, fine_tune, rival_name
from landscope.datasets import byte_sequences, python_texts
from landscope.run.folder import RunFolder
from landscope.run.jobs import Job
from landscope.run.progress import Reporter
from landscope.run.recipes.pairs import mean_with_spread
from landscope.run.recipes.recipe import Plan, Section
from landscope.run.recipes.strengths import Seeds, best_strength, shown_strength, tried_strengths
from landscope.threads import one_thread

__all__ = ["Language"]

_SEEDS = Seeds(reported=5, tuning=2)
_NONE = (math.nan,)
_TRIED: Mapping[str, tuple[float, ...]] = {
    "none": _NONE, "ldc": (4.0, 40.0, 400.0), "ldc-floor": (0.4, 4.0, 40.0), "ldc-psi4-factored": (4.0, 40.0, 400.0),
    "ewc-empirical": (1e1, 1e3, 1e5), "l2": (1e-2, 1e-1, 1.0),
}  # fmt: skip
_HEADINGS = (
    "method", "first text, before", "first text, after", "second text", "λ", "stored / weights", "recorded / weights",
    "to keep (s)", "training / plain",
)  # fmt: skip
_TEXT = (
    "A GPT-2 made from a configuration ({width} wide, {layers} blocks), byte by byte, by AdamW: first Python's "
    "handbook in English, then source code of Python's library; perplexity of a byte on parts of both that were not "
    "learnt, mean and standard deviation over seeds; λ of the smallest mean log perplexity of both texts on other "
    "seeds. Low rank: the first text is learnt by the whole model, the second by changes of rank {rank} of one "
    "layer a block, whose valley is found while they learn on in the first text."
)


@dataclasses.dataclass(frozen=True)
class _Way:
    """What learns the second text."""

    key: str
    name: str
    tuning: Tuning


_RANK = 4
WAYS = (
    _Way("full", "A language model, all weights", Tuning()),
    _Way("low-rank", "A language model, changes of low rank", Tuning(low_rank=_RANK)),
)
_QUICK = {"steps": (200, 100), "n_modes": 10, "window": 60, "max_samples": 50}


@dataclasses.dataclass(frozen=True)
class _Size:
    """Of the network, and of a row of text."""

    width: int = 64
    layers: int = 2
    length: int = 64
    most_bytes: int | None = None


class Language:
    """One job a way: strengths on two seeds, then every method at its best on others."""

    key = "language"
    title = "A language model from one text to another"

    def jobs(self, plan: Plan) -> list[Job]:
        """One job a way."""
        return [Job(f"language-{way.key}", _run, (plan, way)) for way in _ways(plan)]

    def sections(self, plan: Plan) -> list[Section]:
        """One table a way."""
        return [_section(plan, number, way) for number, way in enumerate(_ways(plan))]


def _ways(plan: Plan) -> Sequence[_Way]:
    if not plan.quick:
        return WAYS
    return [dataclasses.replace(way, tuning=dataclasses.replace(way.tuning, **_QUICK)) for way in WAYS]


def _size(plan: Plan) -> _Size:
    return _Size(width=16, layers=1, length=16, most_bytes=20_000) if plan.quick else _Size()


def _run(reporter: Reporter, plan: Plan, way: _Way) -> None:
    with reporter.stage(f"language-{way.key}") as progress:
        seeds = [*_SEEDS.tuning_of(plan), *_SEEDS.reported_of(plan)]
        for done, seed in enumerate(seeds, start=1):
            for method in _TRIED:
                strengths = tried_strengths(_TRIED[method], plan)
                is_tuning = seed in _SEEDS.tuning_of(plan)
                for strength in strengths if is_tuning else (_best(plan, way, method, strengths),):
                    _learn(plan, way, seed, method, strength)
            progress(done, len(seeds))


def _folder(plan: Plan, way: _Way, seed: int) -> RunFolder:
    return RunFolder.create(plan.run_path(f"language-{way.key}-seed{seed}"), plan.settings_with(seed=seed))


def _learn(plan: Plan, way: _Way, seed: int, method: str, strength: float) -> None:
    run, name, size = _folder(plan, way, seed), _artefact(method, strength), _size(plan)
    if run.has(name):
        return
    texts = [byte_sequences(text[: size.most_bytes], size.length) for text in python_texts().values()]
    with run.locked(), one_thread():
        found = fine_tune(_gpt2(size, seed), texts, method, strength=strength, tuning=way.tuning, seed=seed)
        run.save(name, found)


def _gpt2(size: _Size, seed: int) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel  # an extra

    torch.manual_seed(seed)
    options: dict[str, Any] = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    config = GPT2Config(
        vocab_size=256, n_positions=size.length, n_embd=size.width, n_layer=size.layers, n_head=2, use_cache=False,
        bos_token_id=None, eos_token_id=None, **options,
    )  # fmt: skip
    config._attn_implementation = "eager"  # can be differentiated twice
    return GPT2LMHeadModel(config)


def _artefact(method: str, strength: float) -> str:
    return f"language-{method}" + ("" if math.isnan(strength) else f"-{strength:g}")


def _load(plan: Plan, way: _Way, seed: int, method: str, strength: float) -> FineTuned:
    return _folder(plan, way, seed).load(_artefact(method, strength), FineTuned)


def _best(plan: Plan, way: _Way, method: str, strengths: Sequence[float]) -> float:
    """The strength of the smallest mean log perplexity of both texts on the tuning seeds."""

    def loss(strength: float) -> float:
        return statistics.fmean(
            float(_load(plan, way, seed, method, strength).log_loss[-1].mean()) for seed in _SEEDS.tuning_of(plan)
        )

    return best_strength(strengths, loss)


def _section(plan: Plan, number: int, way: _Way) -> Section:
    rows, values = [], {}
    plain = {seed: _load(plan, way, seed, "none", math.nan).seconds for seed in _SEEDS.reported_of(plan)}
    for method in _TRIED:
        strengths = tried_strengths(_TRIED[method], plan)
        best = _best(plan, way, method, strengths)
        found = {seed: _load(plan, way, seed, method, best) for seed in _SEEDS.reported_of(plan)}
        rows.append(_row(method, shown_strength(best, strengths), found, plain))
        values[_artefact(method, best)] = [one.log_loss.tolist() for one in found.values()]
    size = _size(plan)
    text = _TEXT.format(width=size.width, layers=size.layers, rank=_RANK) if number == 0 else ""
    return Section(f"language-{way.key}", way.name, text, _HEADINGS, rows, [], values, None)


def _row(method: str, strength: str, found: Mapping[int, FineTuned], plain: Mapping[int, float]) -> list[str]:
    perplexities = [
        [float(one.perplexity[stage, text]) for one in found.values()] for stage, text in ((0, 0), (1, 0), (1, 1))
    ]
    ratios = [one.seconds / plain[seed] for seed, one in found.items()]
    return [
        rival_name(method),
        *(mean_with_spread(values) for values in perplexities),
        strength,
        f"{statistics.median(one.n_stored / one.n_weights for one in found.values()):.2g}",
        f"{statistics.median(one.n_recorded / one.n_weights for one in found.values()):.3g}",
        f"{statistics.median(one.keeping_seconds for one in found.values()):.1f}",
        f"{statistics.median(ratios):.1f}",
    ]
