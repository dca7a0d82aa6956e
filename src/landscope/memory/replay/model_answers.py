"""The logits of a model among what it returns, however it is called."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from landscope.errors import InputError
from landscope.risk.data import call_arguments, call_model, fits, signature_of
from landscope.risk.hints import described

__all__ = ["ModelAnswers"]


@dataclasses.dataclass(frozen=True)
class ModelAnswers:
    """Calls a model and finds its logits: a tensor, ``logits`` of an object or a mapping, or the only tensor there.

    Args:
        outputs: ``outputs(model, inputs)`` in their place.

    Example:
        >>> class Named(nn.Linear):
        ...     def forward(self, x):
        ...         return {"logits": super().forward(x), "input": x}
        >>> import torch
        >>> ModelAnswers()(Named(4, 3), torch.zeros(5, 4)).shape
        torch.Size([5, 3])
    """

    outputs: Callable[[nn.Module, Any], Any] | None = None

    def __call__(self, model: nn.Module, inputs: Any) -> Any:
        """The logits; what the model returned, where they are not found in it.

        Raises:
            InputError: If the model does not take the inputs.
        """
        if self.outputs is not None:
            return self.among(self.outputs(model, inputs))
        _check_accepts(model, inputs)
        return self.among(call_model(model, inputs))

    @staticmethod
    def among(found: Any) -> Any:
        """The logits among what a model returned; all of it where they are not found."""
        named = found.get("logits") if isinstance(found, Mapping) else getattr(found, "logits", None)
        if isinstance(found, Tensor) or isinstance(named, Tensor):
            return found if isinstance(found, Tensor) else named
        leaves = [leaf for leaf in tree_leaves(found) if isinstance(leaf, Tensor) and leaf.ndim]
        real = [leaf for leaf in leaves if leaf.is_floating_point()]
        return real[0] if len(real) == 1 else found

    def hint(self, inputs: Any) -> str:
        """What to do where the logits are not found."""
        how = "model(**inputs)" if isinstance(inputs, Mapping) else "model(inputs)"
        return (
            "Replay works for classifiers and language models: one row of logits a sample, or one a token. Where they "
            f"stand under another name, pass replay=Replay(64, outputs=lambda model, inputs: {how}[name])."
        )


def _check_accepts(model: nn.Module, inputs: Any) -> None:
    """Raise if the signature of the model, where it has one, does not fit, before an error deep in its code."""
    positional, _ = call_arguments(model, inputs)
    is_whole = len(positional) == 1 and positional[0] is inputs
    if not is_whole or (signature := signature_of(model)) is None:
        return
    parameters = signature.parameters
    known = set(inputs) & set(parameters) if isinstance(inputs, Mapping) else set()
    if fits(model, positional, {}) and not 0 < len(known) < len(inputs):
        return
    names = ", ".join(parameters)
    raise InputError(
        expected=f"samples that {type(model).__name__}.forward takes in replay; its arguments are {names}",
        got=described(inputs),
        hint="Pass batches as mappings with some of these names and labels, such as "
        f"{{{next(iter(parameters), 'x')!r}: x, 'labels': y}}, or "
        "replay=Replay(64, outputs=lambda model, inputs: model(...)), which gives the logits.",
    )  # fmt: skip
