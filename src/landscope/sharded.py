"""Tensors of which each process holds a part, as in FSDP2 and tensor parallelism; whole, they are those of one process.

A process that asks for a whole tensor waits for all others, which must ask too.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = [
    "add_whole_copies",
    "assign",
    "device_of_exchange",
    "has_parts",
    "in_parts_of",
    "is_in_parts",
    "of_first",
    "own_part",
    "reshard",
    "was_left_by_error",
    "whole",
    "whole_copy",
    "whole_state",
]

_FSDP = "torch.distributed.fsdp"
_NOTES = ("__composable_api_state_key_", "_is_fsdp_managed_module", "_fsdp_use_orig_params")
"""What torch notes in a module that it shards, by the beginning of the name."""


def is_in_parts(tensor: Tensor) -> bool:
    """Whether a tensor is a DTensor, of which this process may hold a part only.

    Example:
        >>> is_in_parts(torch.zeros(2))
        False
    """
    return hasattr(tensor, "full_tensor")


def has_parts(model: nn.Module) -> bool:
    """Whether a model has parameters or buffers in parts."""
    return any(is_in_parts(tensor) for tensor in _tensors(model))


def device_of_exchange() -> torch.device:
    """Where tensors must be for the processes of a training to exchange them."""
    backend = dist.get_backend()
    return torch.device("cuda", torch.cuda.current_device()) if backend == dist.Backend.NCCL else torch.device("cpu")


def of_first(tensor: Tensor) -> Tensor:
    """A copy of the tensor that the first process has; all processes must ask for it."""
    there = tensor.detach().to(device_of_exchange(), copy=True).contiguous()
    dist.broadcast(there, 0)
    return there.to(tensor.device)


def was_left_by_error(model: nn.Module) -> bool:
    """Whether an error is under way, and whole weights may not be asked for, as the other processes do not ask.

    Example:
        >>> was_left_by_error(nn.Linear(1, 1))
        False
    """
    return sys.exception() is not None and has_parts(model)


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor, with its graph; of a tensor in parts all processes must ask for it.

    Example:
        >>> whole(torch.ones(2))
        tensor([1., 1.])
    """
    return tensor.full_tensor() if is_in_parts(tensor) else tensor  # ty: ignore[missing-attribute]


def own_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, detached; nothing is exchanged."""
    tensor = tensor.detach()
    return tensor.to_local() if is_in_parts(tensor) else tensor  # ty: ignore[missing-attribute]


def in_parts_of(value: Tensor, tensor: Tensor) -> Tensor:
    """A whole value, which all processes have, in the parts of a tensor of its shape; nothing is exchanged.

    Args:
        value: The value; it is given back as it is where the tensor is whole, or the value itself is in parts.
        tensor: The tensor.
    """
    if is_in_parts(value) or not is_in_parts(tensor):
        return value
    from torch.distributed.tensor import distribute_tensor

    mesh, places = tensor.device_mesh, tensor.placements  # ty: ignore[missing-attribute]
    return distribute_tensor(value.to(tensor.device, tensor.dtype), mesh, places, src_data_rank=None)


@torch.no_grad()
def assign(model: nn.Module, tensors: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    """Write whole values, which all processes have, into tensors of a model: each process its part.

    Args:
        model: The model; what FSDP2 gathered of it would keep the values from before, and is given back.
        tensors: The tensors.
        values: Their new values.
    """
    reshard(model)
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(in_parts_of(value, tensor))


def whole_state(model: nn.Module) -> dict[str, Any]:
    """The state of a model, each tensor whole and detached; of one in parts all processes must ask for it."""
    reshard(model)
    return {name: whole(value) if isinstance(value, Tensor) else value for name, value in model.state_dict().items()}


def reshard(model: nn.Module) -> None:
    """Give back what FSDP2 gathered for a forward pass, so that a model has the parameters that its optimiser moves."""
    for part in model.modules() if _FSDP in sys.modules else ():
        if _is_fsdp(part):
            part.reshard()  # ty: ignore[not-callable]


def whole_copy(model: nn.Module) -> nn.Module:
    """A deep copy that computes in one process; of a model in parts all processes must ask for it.

    Example:
        >>> whole_copy(nn.Linear(1, 2))
        Linear(in_features=1, out_features=2, bias=True)
    """
    copies: dict[int, Any] = {}
    add_whole_copies(model, copies)
    return copy.deepcopy(model, copies)


def add_whole_copies(module: nn.Module, copies: dict[int, Any]) -> None:
    """Add whole copies of what is in parts, and of the modules that hold it, to the memo of a deep copy.

    The copies compute in one process: they have none of the hooks that exchange parts, and the class that the user
    wrote.

    Args:
        module: A module; all processes must copy it.
        copies: Copies by ``id``, as :func:`copy.deepcopy` takes them; added to.
    """
    reshard(module)
    if not has_parts(module):
        return
    for tensor in _tensors(module):
        if is_in_parts(tensor) and id(tensor) not in copies:
            value = whole(tensor.detach()).clone()
            is_parameter = isinstance(tensor, nn.Parameter)
            copies[id(tensor)] = nn.Parameter(value, tensor.requires_grad) if is_parameter else value
    for buffer in module.buffers():  # running statistics are of the samples of each process
        if id(buffer) not in copies:
            copies[id(buffer)] = of_first(buffer)
    for part in reversed(list(module.modules())):  # what is within comes first
        if id(part) not in copies and _exchanges_parts(part):
            copies[id(part)] = _in_one_process(part, copies)


def _in_one_process(part: nn.Module, copies: dict[int, Any]) -> nn.Module:
    kind = type(part).__mro__[2] if _is_fsdp(part) else type(part)  # fully_shard makes FSDPName(FSDPModule, Name)
    plain = cast("nn.Module", object.__new__(kind))
    kept = {name: value for name, value in part.__dict__.items() if not name.startswith(_NOTES)}
    for name, hooks in _hooks_of(part):
        kept[name] = type(hooks)((key, hook) for key, hook in hooks.items() if not _exchanges(hook))
    plain.__dict__.update(copy.deepcopy(kept, copies))
    return plain


def _exchanges_parts(part: nn.Module) -> bool:
    return _is_fsdp(part) or any(_exchanges(hook) for _, hooks in _hooks_of(part) for hook in hooks.values())


def _is_fsdp(part: nn.Module) -> bool:
    kind = getattr(sys.modules.get(_FSDP), "FSDPModule", None)
    return kind is not None and isinstance(part, kind)


def _tensors(module: nn.Module) -> Iterable[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _hooks_of(part: nn.Module) -> list[tuple[str, dict[int, Any]]]:
    return [
        (name, value) for name, value in part.__dict__.items() if name.endswith("_hooks") and isinstance(value, dict)
    ]


def _exchanges(hook: object) -> bool:
    """Whether a hook is one of torch's own that exchange parts between processes."""
    return str(getattr(hook, "__module__", None)).startswith("torch.distributed")
