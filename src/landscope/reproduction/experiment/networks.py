"""The paper's networks (Methods): perceptrons and two convolutional networks; and two of later kinds beside them.

Networks of images take the channels, height and width of an image, and the number of classes. A seed is that of
PyTorch's default initialisation; without one, the global random state decides.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
from collections.abc import Generator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from landscope._checks import check_count
from landscope.errors import InputError

__all__ = ["cifar_cnn", "gpt2", "gpt2_config", "mlp", "mnist_cnn", "residual_network"]


def mlp(
    sizes: Sequence[int],
    *,
    bias: bool = False,
    seed: int | None = None,
    activation: type[nn.Module] = nn.ReLU,
    batch_norm: bool = False,
) -> nn.Sequential:
    """A multilayer perceptron, by default with ReLU between layers; the paper's is ``mlp([784, 50, 50, 10])``, no bias.

    Parameters are named ``"0.weight"``, ``"2.weight"``, ... in order. Inputs are rows ``[b, sizes[0]]``.

    Args:
        sizes: Widths of all layers, inputs and outputs included.
        bias: Give each layer a bias.
        seed: Seed of the initialisation.
        activation: Class of the modules between layers.
        batch_norm: Normalise each hidden layer over the minibatch, before its activation, without weights of its own.

    Raises:
        InputError: If there are fewer than two sizes or one is below 1.

    Example:
        >>> [tuple(p.shape) for p in mlp([784, 50, 50, 10], seed=0).parameters()]
        [(50, 784), (50, 50), (10, 50)]
    """
    if len(sizes) < 2:
        raise InputError(expected="at least two sizes", got=f"{list(sizes)}", hint="Pass [inputs, ..., outputs].")
    for size in sizes:
        check_count("each size", size, minimum=1)
    with _seeded(seed):
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [nn.Linear(inputs, outputs, bias=bias)]
            layers += [nn.BatchNorm1d(outputs, affine=False), activation()] if batch_norm else [activation()]
        return nn.Sequential(*layers[: -2 if batch_norm else -1])


def mnist_cnn(
    shape: tuple[int, int, int] = (1, 28, 28), n_classes: int = 10, *, seed: int | None = None
) -> nn.Sequential:
    """The paper's CNN for MNIST: 3x3x16 and 5x5x32 convolutions, each pooled, then one linear layer; no bias.

    For MNIST's shape the last layer is the paper's 1,568x10.

    Raises:
        InputError: If the images are smaller than 4x4.

    Example:
        >>> [tuple(p.shape) for p in mnist_cnn(seed=0).parameters()]
        [(16, 1, 3, 3), (32, 16, 5, 5), (10, 1568)]
    """
    channels, height, width = _at_least(shape, 4)
    with _seeded(seed):
        return nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1, bias=False), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5, padding=2, bias=False), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * (height // 4) * (width // 4), n_classes, bias=False),
        )  # fmt: skip


def cifar_cnn(
    shape: tuple[int, int, int] = (3, 32, 32), n_classes: int = 10, *, seed: int | None = None
) -> nn.Sequential:
    """The paper's CNN for CIFAR-10: two 5x5 convolutions, pooled, no padding, and three linear layers; no bias.

    For CIFAR-10's shape the first linear layer is the paper's 400x120.

    Raises:
        InputError: If the images are smaller than 16x16.

    Example:
        >>> [tuple(p.shape) for p in cifar_cnn(seed=0).parameters()]
        [(6, 3, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84)]
    """
    channels, height, width = _at_least(shape, 16)
    left = ((height - 4) // 2 - 4) // 2 * (((width - 4) // 2 - 4) // 2)
    with _seeded(seed):
        return nn.Sequential(
            nn.Conv2d(channels, 6, 5, bias=False), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5, bias=False), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(16 * left, 120, bias=False), nn.ReLU(),
            nn.Linear(120, 84, bias=False), nn.ReLU(), nn.Linear(84, n_classes, bias=False),
        )  # fmt: skip


def _at_least(shape: tuple[int, int, int], side: int) -> tuple[int, int, int]:
    if min(shape[1:]) < side:
        raise InputError(
            expected=f"images of at least {side}x{side}",
            got=f"{shape[1]}x{shape[2]}",
            hint="Enlarge them, or choose another network.",
        )
    return shape


class _Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation, added to what went in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.norm2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """``[b, c, h, w] -> [b, c, h, w]``."""
        inner = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(x + self.norm2(self.conv2(inner)))


def residual_network(
    shape: tuple[int, int, int] = (1, 28, 28), n_classes: int = 10, *, seed: int | None = None
) -> nn.Sequential:
    """A small residual network with batch normalisation (He et al. 2016, arXiv 1512.03385).

    A 3x3 convolution with stride 2 to eight channels, two residual blocks of two 3x3 convolutions, the mean over 4x4
    regions, a linear layer. Parameters of a block are named ``"stages.0.conv1.weight"`` and so on.

    Raises:
        InputError: If the images are smaller than 8x8.

    Example:
        >>> [name for name, _ in residual_network().named_parameters()][:3]
        ['stem.weight', 'stages.0.conv1.weight', 'stages.0.norm1.weight']
    """
    colours, _, _ = _at_least(shape, 8)
    with _seeded(seed):
        return nn.Sequential(
            collections.OrderedDict(
                stem=nn.Conv2d(colours, 8, 3, stride=2, padding=1, bias=False),
                stages=nn.Sequential(_Block(8), _Block(8)),
                pool=nn.AdaptiveAvgPool2d(4),
                flatten=nn.Flatten(),
                head=nn.Linear(16 * 8, n_classes),
            )
        )


class _LastPosition(nn.Module):
    """A GPT-2 read out at the last position of each sequence."""

    def __init__(self, body: nn.Module, width: int, n_classes: int) -> None:
        super().__init__()
        self.transformer, self.head = body, nn.Linear(width, n_classes, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """``tokens[b, length] -> logits[b, classes]``; token 0 is padding, on the right."""
        last = (tokens != 0).sum(dim=1).clamp(min=1) - 1
        states = self.transformer(input_ids=tokens, attention_mask=(tokens != 0).long()).last_hidden_state
        return self.head(states[torch.arange(len(tokens), device=tokens.device), last])


def gpt2_config(n_tokens: int, length: int, width: int, layers: int) -> Any:
    """The configuration of a tiny GPT-2 of Hugging Face ``transformers``: no dropout, and differentiable twice.

    Args:
        n_tokens: Size of the vocabulary.
        length: Longest sequence.
        width: Width of the states.
        layers: Blocks, each with two attention heads.

    Raises:
        InputError: If ``transformers`` is not installed.
    """
    try:
        from transformers import GPT2Config
    except ImportError as error:
        raise InputError(
            expected="the package transformers, for a GPT-2", got="none",
            hint="Install it: pip install 'landscope[huggingface]'.",
        ) from error  # fmt: skip
    config = GPT2Config(
        vocab_size=n_tokens, n_positions=length, n_embd=width, n_layer=layers, n_head=2, use_cache=False,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    config._attn_implementation = "eager"  # can be differentiated twice
    return config


def gpt2(n_tokens: int, length: int, n_classes: int, *, seed: int | None = None) -> nn.Module:
    """A GPT-2 of two blocks 32 wide, made from a configuration, without a download.

    Its answer is read at the last token that is no padding. Parameters are named
    ``"transformer.h.0.mlp.c_fc.weight"`` and so on.

    Args:
        n_tokens: Size of the vocabulary; token 0 is padding.
        length: Longest sequence.
        n_classes: Number of outputs.
        seed: Seed of the initialisation.

    Returns:
        The network, ``tokens[b, length] -> logits[b, n_classes]``.

    Raises:
        InputError: If ``transformers`` is not installed.

    Example:
        >>> gpt2(33, 3, 31, seed=0)(torch.tensor([[1, 2, 32]])).shape
        torch.Size([1, 31])
    """
    config = gpt2_config(n_tokens, length, width=32, layers=2)
    from transformers import GPT2Model

    with _seeded(seed):
        return _LastPosition(GPT2Model(config), config.n_embd, n_classes)


@contextlib.contextmanager
def _seeded(seed: int | None) -> Generator[None]:
    """Initialise from a seed and leave the global random state alone; from that state if there is no seed."""
    with contextlib.ExitStack() as stack:
        if seed is not None:
            stack.enter_context(torch.random.fork_rng(devices=[]))
            torch.manual_seed(seed)
        yield
