"""In which modules the mode, train or eval, may change what they compute, and which of them are in eval mode."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from landscope.risk.conditions import is_random_or_has_statistics

__all__ = ["modules_in_eval", "set_modes"]


def modules_in_eval(model: nn.Module) -> list[str]:
    """Names of the modules in eval mode for which the mode may matter: those of users, and layers such as dropout."""
    return [name for name, module in model.named_modules() if not module.training and _may_matter(module)]


def _may_matter(module: nn.Module) -> bool:
    return not type(module).__module__.startswith("torch.nn.") or is_random_or_has_statistics(module)


def set_modes(model: nn.Module, in_eval: Iterable[str]) -> None:
    """Set all modules to train mode but some."""
    names = set(in_eval)
    for name, module in model.named_modules():
        module.training = name not in names
