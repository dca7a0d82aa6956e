"""Layers of transformers in pure Python, replaced by the same functions as one operation of torch."""

from __future__ import annotations

from torch import nn

__all__ = ["fuse_activations"]


def fuse_activations(model: nn.Module) -> None:
    r"""Replace the GELU of GPT-2, which takes eight passes over memory, by that of torch, which takes one.

    Both are :math:`\tfrac12 x (1 + \tanh(\sqrt{2/\pi} (x + 0.044715 x^3)))`; they differ by rounding.

    Args:
        model: A private copy, which is changed.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if _is_gelu_in_python(child):
                setattr(parent, name, nn.GELU(approximate="tanh").train(child.training))


def _is_gelu_in_python(module: nn.Module) -> bool:
    kind = type(module)
    if kind.__name__ != "NewGELUActivation" or not kind.__module__.startswith("transformers."):
        return False
    return not (module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))
