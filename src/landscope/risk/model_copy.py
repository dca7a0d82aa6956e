"""Private copies of models: without wrappers and graphs, and precise enough for small changes of the loss."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from landscope.errors import InputError, LandscopeWarning
from landscope.notices import warn
from landscope.parameters import inner_model
from landscope.risk.embedding_bags import with_second_derivatives
from landscope.risk.fused import fuse_activations
from landscope.seeded import kept_random_state
from landscope.sharded import add_whole_copies

__all__ = ["detached_copy", "precise", "private_copy"]

M = TypeVar("M", bound=nn.Module)

_HALF = (torch.float16, torch.bfloat16)


def private_copy(model: nn.Module) -> nn.Module:
    """A copy in eval mode whose parameters need no gradient, of the model inside its wrappers.

    Its embeddings have dense gradients, because sparse ones are no vectors.

    Raises:
        InputError: If a part is compiled by ``torch.jit``, so that its parameters cannot be replaced.
    """
    model = inner_model(model)
    for name, part in model.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise InputError(
                expected="a model in Python, whose parameters can be replaced",
                got=f"a ScriptModule{f', {name}' if name else ''}",
                hint="Pass the model that was given to torch.jit.script or torch.jit.trace, with the same weights.",
            )
    private = detached_copy(model).eval().requires_grad_(False)
    for part in private.modules():
        if isinstance(part, nn.Embedding | nn.EmbeddingBag):
            part.sparse = False
        for number, hook in list(part._forward_hooks.items()):
            # transformers and peft let inputs require a gradient, for training; torch.func does not allow this.
            if getattr(hook, "__name__", "").startswith("make_inputs_require_grad"):
                del part._forward_hooks[number]
    fuse_activations(private)
    with_second_derivatives(private)
    return private


def detached_copy(module: M, memo: Mapping[int, Any] | None = None) -> M:
    """A deep copy, also of a module that keeps tensors with a graph, as the weights of old weight normalisation.

    Args:
        module: The module.
        memo: Objects by their ``id`` to use in place of copies.
    """
    copies = dict(memo or {})
    for tensor in _tensors_with_graph(module):
        copies.setdefault(id(tensor), _detached(tensor))
    for part in module.modules():
        for child in part.children():
            if isinstance(inner := getattr(child, "_orig_mod", None), nn.Module):  # made by torch.compile
                copies[id(child)] = detached_copy(inner, copies)
    add_whole_copies(module, copies)
    return copy.deepcopy(module, copies)


def _detached(tensor: Tensor) -> Tensor:
    try:
        return tensor.detach().clone()
    except RuntimeError:  # what is left of a derivative that was taken within a function
        return torch.empty(0)


def _tensors_with_graph(module: nn.Module) -> Iterator[Tensor]:
    """The tensors with a graph that a module keeps as attributes, also within containers and objects."""
    pending: list[Any] = [vars(part) for part in module.modules()]
    seen: set[int] = set()
    while pending:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            if not value.is_leaf or torch._C._functorch.is_functorch_wrapped_tensor(value):
                yield value
        elif isinstance(value, Mapping):
            pending.extend(value.values())
        elif isinstance(value, list | tuple | set):
            pending.extend(value)
        elif hasattr(value, "__dict__") and not isinstance(value, type | types.FunctionType | types.ModuleType):
            pending.append(vars(value))


def precise(model: nn.Module, batches: list[Any], run: Callable[[nn.Module, Any], Any]) -> tuple[nn.Module, list[Any]]:
    """A model and its batches in float32 where they are in half precision, if the model can be evaluated so.

    Half precision keeps 3 digits, so the loss along a line is a staircase.

    Args:
        model: A private copy, which may be changed.
        batches: The data.
        run: Evaluates the loss of the model for a batch.
    """
    halves = [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.dtype in _HALF]
    if not halves or not batches:
        return model, batches
    raised = copy.deepcopy(model)
    for tensor in (*raised.parameters(), *raised.buffers()):
        tensor.data = _raised(tensor.data)
    raised_batches = [tree_map(_raised, batch) for batch in batches]
    if _runs(raised, raised_batches[0], run):
        return raised, raised_batches
    if _runs(model, batches[0], run):
        warn(
            f"landscope evaluates {type(model).__name__} in {str(halves[0].dtype).removeprefix('torch.')}, because it "
            "could not be evaluated in float32. The loss then has 3 digits, and widths and curvatures may be wrong by "
            "several per cent. Remove the conversions to half precision from its forward method, or use the model "
            "after model.float().",
            LandscopeWarning,
        )
    return model, batches


def _raised(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in _HALF else value


@torch.no_grad()
def _runs(model: nn.Module, batch: Any, run: Callable[[nn.Module, Any], Any]) -> bool:
    try:
        with kept_random_state():
            run(model, copy.deepcopy(batch))
    except Exception:  # noqa: BLE001 - a model may fail in any manner; later checks say why
        return False
    return True
