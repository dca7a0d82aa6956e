"""The latest batch that a model was called with in training, and the outputs for it at other weights."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from landscope.memory.replay.model_answers import ModelAnswers
from landscope.risk.eval_mode import in_eval_mode
from landscope.risk.outputs import Outputs

__all__ = ["LatestCall"]


class LatestCall:
    """Keeps what a model was last called with where gradients were wanted, while a call is wanted.

    A copy of a model that is watched, such as one for averaged weights, has a watcher of its own that keeps nothing.

    Example:
        >>> model, latest = nn.Linear(1, 1), LatestCall()
        >>> latest.wanted = True
        >>> with latest.watching(model):
        ...     _ = model(torch.zeros(3, 1))
        ...     [tuple(tensor.shape) for tensor in latest.outputs(model)]
        [(3, 1)]
    """

    def __init__(self) -> None:
        self.wanted = False
        self.call: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._autocast: torch.dtype | None = None

    def __reduce__(self) -> tuple[type[LatestCall], tuple[()]]:
        return LatestCall, ()

    @contextlib.contextmanager
    def watching(self, model: nn.Module) -> Generator[None]:
        """Look at the calls of a model."""
        handle = model.register_forward_pre_hook(self._see, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()
            self.wanted, self.call = False, None

    @contextlib.contextmanager
    def unwatched(self) -> Generator[None]:
        """Calls within the context are not those of the user's training."""
        wanted, self.wanted = self.wanted, False
        try:
            yield
        finally:
            self.wanted = wanted

    def _see(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.wanted and torch.is_grad_enabled():
            self.call = (args, kwargs)
            device = _device(module)
            self._autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None

    @torch.no_grad()
    def outputs(self, model: nn.Module) -> list[Tensor]:
        """The outputs for the latest call, with the model in eval mode and in the precision of its weights.

        Differences of outputs need that precision, so there is no autocast, except where the weights have several
        precisions, which may need it.
        """
        assert self.call is not None  # noqa: S101 - asked for only with one
        dtypes = {tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()}
        exact = dtypes.pop() if len(dtypes) == 1 else None
        args, kwargs = tree_map(lambda leaf: _prepared(leaf, exact), self.call)
        mode = _without_autocast(model) if exact else _autocast(_device(model), self._autocast)
        with in_eval_mode(model), mode:
            found = model(*args, **kwargs)
        logits = ModelAnswers.among(found)
        tensors = [logits] if isinstance(logits, Tensor) else Outputs.of(found).tensors
        return [tensor for tensor in tensors if tensor.ndim]

    def precision(self, model: nn.Module) -> float:
        """The relative precision of the outputs."""
        dtypes = {tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()}
        if len(dtypes) > 1 and self._autocast is not None:
            dtypes.add(self._autocast)
        return max(torch.finfo(dtype).eps for dtype in dtypes)


def _device(model: nn.Module) -> str:
    return next(model.parameters()).device.type


def _prepared(leaf: Any, exact: torch.dtype | None) -> Any:
    """A value of a call without its graph, where autocast made it coarser than the weights in their precision."""
    if not isinstance(leaf, Tensor):
        return leaf
    is_coarser = exact is not None and leaf.dtype in (torch.bfloat16, torch.float16)
    return leaf.detach().to(torch.promote_types(leaf.dtype, exact)) if is_coarser else leaf.detach()


@contextlib.contextmanager
def _without_autocast(model: nn.Module) -> Generator[None]:
    """Also where accelerate put the autocast into the model, beside the method that it had."""
    wrapped, method = (model.__dict__.get(name) for name in ("forward", "_original_forward"))
    with _autocast(_device(model), None):
        if wrapped is None or method is None:
            yield
            return
        try:
            model.__dict__["forward"] = method
            yield
        finally:
            model.__dict__["forward"] = wrapped


def _autocast(device: str, dtype: torch.dtype | None) -> contextlib.AbstractContextManager[Any]:
    if not torch.amp.is_autocast_available(device):
        return contextlib.nullcontext()
    return torch.autocast(device, dtype=dtype, enabled=dtype is not None)
