"""Losses that take derivatives themselves, as of a differential equation or of forces, where no graph is wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

__all__ = ["ASKS", "GraphWhereNeeded"]

ASKS = ("does not require grad", "does not have a grad_fn")
"""What torch says of a derivative of something without a graph."""


class GraphWhereNeeded:
    """A function that may call ``torch.autograd.grad`` inside, also within ``torch.no_grad``.

    Graphs cost memory, so they are built only from the first call on that fails without them. The function must not
    change its arguments in place.

    Args:
        function: The function.

    Example:
        The derivative of x^2 at 3, without a graph outside.

        >>> import torch
        >>> def slope(x):
        ...     x = x.clone().requires_grad_()
        ...     return torch.autograd.grad(x.square(), x)[0]
        >>> with torch.no_grad():
        ...     GraphWhereNeeded(slope)(torch.tensor(3.0))
        tensor(6.)
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function, self.is_needed = function, False

    def __call__(self, *arguments: Any) -> Any:
        """The result of the function; it has no graph where gradients are off."""
        if torch.is_grad_enabled():
            return self._function(*arguments)
        if not self.is_needed:
            try:
                return self._function(*arguments)
            except RuntimeError as error:
                if not any(words in str(error) for words in ASKS):
                    raise
        with torch.enable_grad():
            result = self._function(*arguments)
        self.is_needed = True
        return tree_map(lambda part: part.detach() if isinstance(part, Tensor) else part, result)
