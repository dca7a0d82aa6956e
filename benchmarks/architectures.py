"""Lines through other networks: how much is frozen, and how much of that is won."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import landscope as ls
from benchmarks.measure import Row, in_turns, ratio
from benchmarks.subject import Subject
from landscope.reproduction.experiment.networks import mnist_cnn

__all__ = ["architectures"]

_REPEATS = 2
_DIRECTIONS = 4
_POINTS = 10
_CALL = 100
"""Samples a full forward takes at once: fastest here, thousands are slower on a CPU's caches."""


class ResidualNet(nn.Module):
    """Two residual blocks with BatchNorm on 28 x 28 images."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2))
        self.first = self._branch(width)
        self.second = self._branch(width)
        self.head = nn.Linear(width, 10)

    @staticmethod
    def _branch(width: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images."""
        x = self.stem(x)
        x = torch.relu(x + self.first(x))
        x = torch.relu(x + self.second(x))
        return self.head(x.mean(dim=(2, 3)))


class Block(nn.Module):
    """Pre-norm attention and a two-layer perceptron."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``[b, t, width]`` to the same."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, self.width // self.heads)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """A small decoder that says the next token."""

    def __init__(self, tokens: int = 64, width: int = 64, blocks: int = 3) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, width)
        self.blocks = nn.Sequential(*(Block(width, 4) for _ in range(blocks)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, tokens)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``[b, t]`` to logits ``[b, tokens, t]``."""
        return self.head(self.norm(self.blocks(self.embed(x)))).transpose(1, 2)


def _images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2000, 1, 28, 28, generator=generator), torch.randint(0, 10, (2000,), generator=generator)


def _tokens() -> tuple[Tensor, Tensor]:
    text = torch.randint(0, 64, (1000, 33), generator=torch.Generator().manual_seed(0))
    return text[:, :-1].contiguous(), text[:, 1:].contiguous()


_CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, Tensor]], dict[str, str]]] = {
    "CNN": (mnist_cnn, _images, {"first": "0.weight", "middle": "3.weight", "last": "7.weight"}),
    "residual net": (
        ResidualNet,
        _images,
        {"first": "stem.0.weight", "middle": "second.0.weight", "norm": "second.4.*", "last": "head.weight"},
    ),
    "transformer": (
        Transformer,
        _tokens,
        {
            "embedding": "embed.weight",
            "first attention": "blocks.0.qkv.weight",
            "last attention": "blocks.2.qkv.weight",
            "last": "head.weight",
        },
    ),
}


def architectures(subject: Subject) -> list[Row]:
    """Speed-up over a full forward, beside the share of the forward that is frozen."""
    rows, device = [], subject.data[0].device
    for name, (build, data, layers) in _CASES.items():
        torch.manual_seed(0)
        model = build().to(device).eval()
        inputs, targets = (part.to(device) for part in data())
        for place, select in layers.items():
            rows += _rows(f"{name}, {place} layer", model, inputs, targets, select)
    return rows


def _rows(name: str, model: nn.Module, inputs: Tensor, targets: Tensor, select: str) -> list[Row]:
    space = ls.ParameterSpace.of(model, select)
    risk = ls.EmpiricalRisk(model, nn.functional.cross_entropy, (inputs, targets), space=space)
    directions = torch.linalg.qr(
        torch.randn(space.dim, min(space.dim, _DIRECTIONS), generator=torch.Generator().manual_seed(1))
    ).Q.T.contiguous()
    directions = directions.to(inputs.device)

    steps = torch.linspace(-0.5, 0.5, _POINTS)
    # Every other point, each direction in its turn: how fast pooling is depends on what it pools.
    some = [(directions[n % len(directions)], step) for n, step in enumerate(steps.repeat(2).tolist())]
    start, moved = space.flatten(model), copy.deepcopy(model)

    @torch.no_grad()
    def full() -> None:
        for direction, step in some:
            weights = space.unflatten(start + step * direction)
            for name, parameter in moved.named_parameters():
                if name in weights:
                    parameter.copy_(weights[name])
            for x, y in zip(inputs.split(_CALL), targets.split(_CALL), strict=True):
                nn.functional.cross_entropy(moved(x), y).item()

    times = in_turns({"full": full, "lines": lambda: ls.loss_profiles(risk, risk.w0, directions, steps)}, _REPEATS)
    each = [1e3 * t / (len(directions) * _POINTS) for t in times["lines"]]
    whole = [1e3 * t / len(some) for t in times["full"]]
    frozen = _frozen_share(risk, model, inputs)
    return [
        Row.of(f"{name}: full forward / lines", "x", ratio(whole, each), f"{100 * frozen:.0f} % of products frozen"),
        Row.of(f"{name}: lines", "ms", each),
    ]


@torch.no_grad()
def _frozen_share(risk: ls.EmpiricalRisk, model: nn.Module, inputs: Tensor) -> float:
    """Part of the multiplications of a forward that come before the selected weights."""
    if not risk.is_traced:
        return 0.0
    few, split = inputs[:4], risk._blocks.split

    def flops(call: Callable[[], object]) -> int:
        with FlopCounterMode(display=False) as counter:
            call()
        return counter.get_total_flops()

    whole = flops(lambda: model(few))
    return flops(lambda: split.prefix(few)) / whole if whole else 0.0
