"""The diagonal Fisher information: by layers against single gradients, and many classes against a closed form."""

from __future__ import annotations

import dataclasses
import warnings

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

import landscope as ls
from benchmarks.measure import Row, in_turns, ratio, seconds
from landscope.adapters.huggingface import language_model_losses
from landscope.reproduction.experiment.networks import mlp

__all__ = ["fisher"]

_REPEATS = 3


def fisher(subject: object) -> list[Row]:  # noqa: ARG001 - groups share a form
    """Rows of small and large networks, and of a thousand classes, on random inputs."""
    return [*_networks(), *_tokens(), *_large(), *_many_classes()]


def _risk(model: nn.Module, inputs: Tensor, classes: int) -> ls.EmpiricalRisk:
    labels = torch.randint(classes, (len(inputs),), generator=torch.Generator().manual_seed(1))
    return ls.EmpiricalRisk(model, nn.functional.cross_entropy, (inputs, labels))


def _inputs(count: int, *shape: int) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0))


def _networks() -> list[Row]:
    """The same sums from the inputs of layers and from the gradients of single samples."""
    convolution = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * 36, 10),
    )  # fmt: skip
    networks = {
        "784-200-200-10, 2,000 samples": (mlp([784, 200, 200, 10], bias=True, seed=0), _inputs(2000, 784)),
        "two convolutions and a linear layer, 500 images of 3 x 32 x 32": (convolution, _inputs(500, 3, 32, 32)),
    }
    rows = []
    for name, (model, inputs) in networks.items():
        found = _risk(model, inputs, 10)
        chosen = found.fisher_information()
        fast, slow = (dataclasses.replace(chosen, by_layers=by) for by in (True, False))
        answers: dict[str, Tensor] = {}
        times = in_turns(
            {
                "layers": lambda f=fast, r=found, a=answers: a.update(layers=f.diagonal(r.w0)),
                "single": lambda f=slow, r=found, a=answers: a.update(single=f.diagonal(r.w0)),
                "chosen": lambda f=chosen, r=found: f.diagonal(r.w0),
                "plain": lambda m=model, x=inputs: _plain_gradients(m, x),
            },
            _REPEATS,
            warm_up=False,
        )
        away = float((answers["layers"] - answers["single"]).abs().max() / answers["single"].max())
        note = f"{found.w0.numel():,} weights; largest difference {away:.0e} of the largest"
        rows += [
            Row.of(f"diagonal Fisher information, {name}", "s", times["layers"], note),
            Row.of("single gradients / layers", "x", ratio(times["single"], times["layers"])),
            _choice(times),
            Row.of(
                "layers / plain gradients of the same outputs, summed over samples",
                "x",
                ratio(times["layers"], times["plain"]),
                "a layer with many positions multiplies as much for each sample as its plain gradient does",
            ),
        ]
    return rows


def _choice(times: dict[str, list[float]]) -> Row:
    faster = [min(pair) for pair in zip(times["single"], times["layers"], strict=True)]
    note = "by multiplications, counted before"
    return Row.of("the way that is chosen / the faster of the two", "x", ratio(times["chosen"], faster), note)


def _tokens() -> list[Row]:
    """The empirical Fisher information of a tiny GPT-2: layers of many positions, one slope a text."""
    sizes = {"vocab_size": 50, "n_positions": 32, "n_embd": 64, "n_layer": 2, "n_head": 4}
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))
    rows = []
    for count in (16, 128):
        texts = torch.randint(50, (count, 32), generator=torch.Generator().manual_seed(0)).split(8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = ls.EmpiricalRisk(model, language_model_losses, [{"input_ids": x, "labels": x} for x in texts])
        ways = {
            name: dataclasses.replace(found.fisher_information(), by_layers=by)
            for name, by in (("chosen", None), ("layers", True), ("single", False))
        }
        calls = {name: lambda f=f, r=found: f.diagonal(r.w0, "empirical") for name, f in ways.items()}
        times = in_turns(calls, _REPEATS)
        note = f"{found.w0.numel():,} weights"
        rows += [
            Row.of(f"empirical Fisher information, GPT-2 of 2 blocks, {count} texts", "s", times["chosen"], note),
            Row.of("single gradients / layers", "x", ratio(times["single"], times["layers"])),
            _choice(times),
        ]
    return rows


def _plain_gradients(model: nn.Module, inputs: Tensor) -> None:
    """One backward pass for each output: what no exact Fisher information of many positions can pass."""
    outputs = model(inputs)
    for number in range(outputs.shape[1]):
        torch.autograd.grad(outputs[:, number].sum(), list(model.parameters()), retain_graph=True)


def _large() -> list[Row]:
    """2.8 million weights; the time is that of each thousand samples."""
    model, count = mlp([784, 1500, 1060, 10], bias=True, seed=0), 3000
    found = _risk(model, _inputs(count, 784), 10)
    taken = seconds(lambda: found.fisher_information().diagonal(found.w0))
    note = f"{found.w0.numel():,} weights, measured on {count:,} samples"
    return [Row.of("diagonal Fisher information, 60,000 samples, from their share", "s", taken * 60_000 / count, note)]


def _many_classes() -> list[Row]:
    """Softmax of a linear layer, whose diagonal is the mean of p (1 - p) x^2."""
    rows, classes = [], 1000
    for count in (16, 2000):
        model, inputs = nn.Linear(256, classes, bias=False), _inputs(count, 256)
        found = _risk(model, inputs, classes)
        p = model(inputs).softmax(dim=1).detach().double()
        closed = ((p * (1 - p)).T @ inputs.double().square() / count).flatten()
        kinds = [("exact", {}), ("monte-carlo", {"n_draws": 10})] if count == 16 else [("monte-carlo", {"n_draws": 10})]
        for kind, options in kinds:
            answer: dict[str, Tensor] = {}

            def take(
                kind: str = kind, options: dict = options, answer: dict = answer, r: ls.EmpiricalRisk = found
            ) -> None:
                answer["diagonal"] = r.fisher_information().diagonal(r.w0, kind, **options)

            taken = seconds(take)
            trace = float(answer["diagonal"].sum() / closed.sum() - 1)
            note = f"trace against the closed form {trace:+.1e}"
            name = kind if kind == "exact" else f"{kind}, 10 draws"
            rows.append(Row.of(f"{classes} classes, {count:,} samples, 256,000 weights: {name}", "s", taken, note))
    return rows
