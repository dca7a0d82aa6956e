"""A small language model fine-tuned from one text to another, all of it and by changes of low rank."""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from landscope.progress import Reporter
from landscope.reproduction.experiment.datasets.texts import byte_sequences, python_texts
from landscope.reproduction.experiment.folder import ExperimentFolder
from landscope.reproduction.figures.recipe import Plan, Section, mean_with_spread
from landscope.reproduction.figures.strengths import Comparison, Seeds, learnt_as, trial_name
from landscope.reproduction.jobs import Job
from landscope.reproduction.sequential.language import FineTuned, FineTuning, Tuning
from landscope.reproduction.sequential.scenario_training import rival_name

__all__ = ["Language"]

_SEEDS = Seeds(reported=3, tuning=1)
_NONE = (math.nan,)
_TRIED: Mapping[str, tuple[float, ...]] = {
    "none": _NONE, "ldc-no-floor": (0.4, 4.0, 40.0, 400.0), "ldc-floor": (4e-3, 0.04, 0.4, 4.0, 40.0),
    "ldc-variance-factored": (4.0, 40.0, 400.0, 4e3), "ewc-empirical": (1e-3, 1e-2, 0.1, 1.0, 10.0),
    "l2": (1e-4, 1e-3, 1e-2, 0.1, 1.0),
}  # fmt: skip
_HEADINGS = (
    "method", "first text, before", "first text, after", "second text", "λ", "stored / weights", "recorded / weights",
    "to keep (s)", "training / plain",
)  # fmt: skip
_TEXT = (
    "A GPT-2 made from a configuration ({width} wide, {layers} blocks), byte by byte, by AdamW: first Python's "
    "handbook in English, then source code of Python's library; perplexity of a byte on parts of both that were not "
    "learnt, mean and standard deviation over {reported} seeds; λ of the smallest mean log perplexity of both texts, "
    "on the same parts, over other seeds ({tuning}). Low rank: the first text is learnt by the whole model, the "
    "second by changes of rank {rank} of one layer a block, whose valley is found while they learn on in the first "
    "text."
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
    """One job a way and seed: strengths on one seed, then every method at its best on others."""

    key = "language"
    title = "A language model from one text to another"

    def jobs(self, plan: Plan) -> list[Job]:
        """One job a way and seed."""
        return [
            job
            for way in _ways(plan)
            for job in _comparison(plan, way).jobs(functools.partial(_name, way), _run, plan, way)
        ]

    def sections(self, plan: Plan) -> list[Section]:
        """One table a way."""
        return [_section(plan, number, way) for number, way in enumerate(_ways(plan))]


def _ways(plan: Plan) -> Sequence[_Way]:
    if not plan.quick:
        return WAYS
    return [dataclasses.replace(way, tuning=dataclasses.replace(way.tuning, **_QUICK)) for way in WAYS]


def _size(plan: Plan) -> _Size:
    return _Size(width=16, layers=1, length=16, most_bytes=20_000) if plan.quick else _Size()


def _name(way: _Way, seed: int) -> str:
    return f"language-{way.key}-seed{seed}"


def _run(reporter: Reporter, plan: Plan, way: _Way, seed: int) -> None:
    def begin() -> Callable[[str, float], FineTuned]:
        return _first_learnt(_size(plan), way.tuning, seed).second  # all methods go on from the same first text

    _comparison(plan, way).learn(reporter, _folder(plan, way, seed), seed, _artefact, begin)


def _comparison(plan: Plan, way: _Way) -> Comparison[str, FineTuned]:
    """By the mean log perplexity of both texts."""
    load = functools.partial(_load, plan, way)
    return Comparison(plan, _SEEDS, _TRIED, load, lambda found: float(found.log_loss[-1].mean()))


def _folder(plan: Plan, way: _Way, seed: int) -> ExperimentFolder:
    return ExperimentFolder.create(plan.run_path(_name(way, seed)), plan.settings_with(seed=seed))


def _first_learnt(size: _Size, tuning: Tuning, seed: int) -> FineTuning:
    texts = [byte_sequences(text[: size.most_bytes], size.length) for text in python_texts().values()]
    return FineTuning(_gpt2(size, seed), texts, tuning, seed)


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


_artefact = functools.partial(trial_name, "language")


def _load(plan: Plan, way: _Way, seed: int, method: str, strength: float) -> FineTuned:
    found = _folder(plan, way, seed).load(_artefact(method, strength), FineTuned)
    return learnt_as(found, way.tuning)


def _section(plan: Plan, number: int, way: _Way) -> Section:
    rows, values, comparison = [], {}, _comparison(plan, way)
    plain = [one.seconds for one in comparison.reported("none")]
    for method in _TRIED:
        found = comparison.reported(method)
        rows.append(_row(method, comparison.shown(method), found, plain))
        values[_artefact(method, comparison.best(method))] = [one.log_loss.tolist() for one in found]
    size = _size(plan)
    told = _TEXT.format(width=size.width, layers=size.layers, rank=_RANK, **_SEEDS.counts_of(plan))
    text = told if number == 0 else ""
    return Section(f"language-{way.key}", way.name, text, _HEADINGS, rows, [], values, None)


def _row(method: str, strength: str, found: Sequence[FineTuned], plain: Sequence[float]) -> list[str]:
    perplexities = [[float(one.perplexity[stage, text]) for one in found] for stage, text in ((0, 0), (1, 0), (1, 1))]
    ratios = [one.seconds / unprotected for one, unprotected in zip(found, plain, strict=True)]
    return [
        rival_name(method),
        *(mean_with_spread(values) for values in perplexities),
        strength,
        f"{statistics.median(one.n_stored / one.n_weights for one in found):.2g}",
        f"{statistics.median(one.n_recorded / one.n_weights for one in found):.3g}",
        f"{statistics.median(one.keeping_seconds for one in found):.1f}",
        f"{statistics.median(ratios):.1f}",
    ]
