"""A private copy of the user's model, or an error that says why there is none."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from landscope.errors import InputError, LandscopeError
from landscope.parameters import ParameterSpace, inner_model
from landscope.risk.model_copy import private_copy
from landscope.wording import error_text

__all__ = ["check_no_renorm", "copied"]


def copied(model: nn.Module) -> nn.Module:
    """A private copy of a model.

    Raises:
        InputError: If a part of it cannot be copied, or no tensor can be made.
    """
    inner = inner_model(model)
    if torch.get_default_device().type == "meta":
        raise InputError(
            expected="a default device with memory", got="a call under torch.device('meta')",
            hint="Leave that block, or call torch.set_default_device('cpu').",
        )  # fmt: skip
    try:
        return private_copy(model)
    except Exception as error:
        if isinstance(error, LandscopeError | MemoryError) or "memory" in str(error):  # of any allocator
            raise
        raise InputError(
            expected=f"a model that can be copied, by copy.deepcopy({type(inner).__name__})",
            got=error_text(error), hint=_hint(inner),
        ) from error  # fmt: skip


def _hint(model: nn.Module) -> str:
    """What to do about the attributes that cannot be copied, by name."""
    held = ", ".join(sorted(_uncopied(model)))
    about = f" Here these are: {held}." if held else ""
    return (
        "Keep generators, locks, open files and connections outside of the model, or say in its __deepcopy__ how it is "
        f"copied.{about}"
    )


def _uncopied(model: nn.Module) -> list[str]:
    known = {"_parameters", "_buffers", "_modules"}
    return [
        f"{prefix}.{name}" if prefix else name
        for prefix, part in model.named_modules()
        for name, value in vars(part).items()
        if name not in known and _is_uncopied(value)
    ]


def _is_uncopied(value: Any) -> bool:
    return type(value).__name__ in ("generator", "lock", "RLock", "TextIOWrapper", "BufferedReader", "socket")


def check_no_renorm(model: nn.Module, space: ParameterSpace) -> None:
    """Raise if a selected table of embeddings is scaled in each forward pass: the loss has then no weights of its own.

    Raises:
        InputError: If one has ``max_norm``.
    """
    for name, part in inner_model(model).named_modules():
        if isinstance(part, nn.Embedding | nn.EmbeddingBag) and part.max_norm is not None:
            table = f"{name}.weight" if name else "weight"
            if table in space.names:
                raise InputError(
                    expected="a model that leaves its weights as they are in a forward pass",
                    got=f"{table}, which max_norm={part.max_norm:g} of {type(part).__name__} scales in each",
                    hint="Select other weights; or scale the table after each step in place of max_norm, by "
                    "torch.renorm(weight, 2, 0, max_norm), and set max_norm = None.",
                )
