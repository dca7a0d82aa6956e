"""A model cut at its modules: calls that the selected weights cannot change are stored, and skipped from then on.

This serves every model, with any inputs and any function of its outputs, because the code of the model runs as it is.
One recorded run finds the calls of modules whose results do not depend on the selected weights: it follows every
operation of torch, also those without a derivative, from the memory of the weights on.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Generator, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map

__all__ = ["Calls", "NothingToSkipError", "OtherCallsError", "record_calls", "replayed", "stored_bytes"]

_PLAIN = (Tensor, bool, int, float, str, type(None), torch.dtype, torch.device)


class OtherCallsError(Exception):
    """The model calls its modules in another order than when they were recorded."""


class NothingToSkipError(Exception):
    """No call of a module can be skipped; the reason, in words, is about the model."""


@dataclasses.dataclass(frozen=True)
class Fixed:
    """A tensor that is no function of the data, so that it has no samples to choose from."""

    value: Tensor


@dataclasses.dataclass(frozen=True)
class StoredCall:
    """The result of one call of a module, or ``is_stored=False`` where this call must be executed."""

    module: str
    is_stored: bool
    is_overwritten: bool = False
    """Whether later code changes the result in place, so that every use needs a copy."""


Calls = list[tuple[StoredCall, Any]]
"""The calls in their order, each with its result."""


@contextlib.contextmanager
def _forwards(modules: dict[str, nn.Module], wrap: Callable[..., Any]) -> Generator[None]:
    """Replace ``forward`` of some modules by ``wrap(name, module, forward, args, kwargs)``; hooks still run."""
    before = {name: vars(module).get("forward") for name, module in modules.items()}
    try:
        for name, module in modules.items():
            forward = module.forward
            wrapped = functools.partial(_wrapped, wrap, name, module, forward)
            vars(module)["forward"] = functools.update_wrapper(wrapped, forward)  # the signature stays known
        yield
    finally:
        for name, module in modules.items():
            if before[name] is None:
                vars(module).pop("forward", None)
            else:
                vars(module)["forward"] = before[name]


def _wrapped(wrap: Callable[..., Any], name: str, module: nn.Module, forward: Any, *args: Any, **kwargs: Any) -> Any:
    return wrap(name, module, forward, args, kwargs)


def replayed(root: nn.Module, calls: Calls, run: Callable[[], Any]) -> Any:
    """The result of ``run()``, in which the modules of ``root`` return their stored results.

    Raises:
        OtherCallsError: If the modules are not called as often as they were when they were recorded.
    """
    queues: dict[str, collections.deque[tuple[StoredCall, Any]]] = collections.defaultdict(collections.deque)
    for call in calls:
        queues[call[0].module].append(call)

    def forward(name: str, _: nn.Module, execute: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if not queues[name]:
            raise OtherCallsError
        call, result = queues[name].popleft()
        if not call.is_stored:
            return execute(*args, **kwargs)
        return tree_map(lambda leaf: _fresh(leaf, call.is_overwritten), result)

    with _forwards({name: root.get_submodule(name) for name in queues}, forward):
        result = run()
    if any(queues.values()):
        raise OtherCallsError
    return result


def _fresh(leaf: Any, copy: bool) -> Any:
    value = leaf.value if isinstance(leaf, Fixed) else leaf
    return value.clone() if copy and isinstance(value, Tensor) else value


def stored_bytes(calls: Calls) -> int:
    """Memory of the stored results."""
    leaves = [leaf.value if isinstance(leaf, Fixed) else leaf for _, result in calls for leaf in tree_leaves(result)]
    return sum(leaf.untyped_storage().nbytes() for leaf in leaves if isinstance(leaf, Tensor))


def record_calls(root: nn.Module, run: Callable[[], Any], weights: Iterable[Tensor], data: Any) -> Calls:
    """Execute ``run()``, and store the results of modules of ``root`` that do not depend on ``weights``.

    Args:
        root: A module that contains the model.
        run: A call without a graph.
        weights: The selected weights that ``run`` uses.
        data: The batch that ``run`` uses.

    Returns:
        The calls.

    Raises:
        NothingToSkipError: If nothing can be skipped, or a decision of Python depends on the weights.
    """
    modules = {name: module for name, module in root.named_modules() if name}
    recording = _Recording(modules, weights, data)
    with torch.no_grad(), _forwards(modules, recording.call), recording:
        run()
    return recording.calls()


class _Recording(TorchDispatchMode):
    """Follows, operation by operation, which memory depends on the weights and on the data."""

    def __init__(self, modules: dict[str, nn.Module], weights: Iterable[Tensor], data: Any) -> None:
        super().__init__()
        self._touched = {_memory(tensor) for tensor in weights}
        leaves = tree_leaves(data)
        self._of_data = {_memory(leaf) for leaf in leaves if isinstance(leaf, Tensor)}
        self._knows_data = all(isinstance(leaf, _PLAIN) for leaf in leaves)
        self._hooked_within = {name for name, module in modules.items() if _hooks_within(module)}
        self._parts = {name: list(module.modules()) for name, module in modules.items()}
        self._log: list[_Result | _Use] = []
        self._decides = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        used = {_memory(leaf) for leaf in _parts(args, kwargs) if isinstance(leaf, Tensor)}
        outputs = func(*args, **kwargs)
        made = {_memory(leaf) for leaf in _parts(outputs) if isinstance(leaf, Tensor)}
        self._log.extend(_Use(memory) for memory in used)
        written = made | (used if func._schema.is_mutable else set())
        for reached in (self._touched, self._of_data):
            if reached & used:
                reached |= written
            else:  # memory that was freed may be used again
                reached -= made - used
        if self._touched & used and not made and outputs is not None:
            self._decides = True  # a number for Python, which may decide what is called
        return outputs

    def call(self, name: str, module: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Execute one call of a module, and keep its result if it can be stored."""
        start, parts = len(self._log), self._parts[name]
        before, versions = _attributes(parts), _versions([*_parts(args, kwargs), *_kept(parts)])
        output = forward(*args, **kwargs)
        # Attributes are compared by identity, and held meanwhile, so that no other object takes their place in memory.
        same = len(before) == len(after := _attributes(parts)) and all(map(operator.is_, before, after))
        unchanged = same and versions == _versions([*_parts(args, kwargs), *_kept(parts)])
        inputs = tree_leaves((args, kwargs))
        if unchanged and name not in self._hooked_within and self._can_store(output, inputs, module):
            result = _Result(name, output, self._depends_on_data(output))
            self._log[start:] = [result]  # what it used, also to copy its result, will not be used again
        else:
            self._log.append(_Result(name))
        return output

    def _can_store(self, output: Any, inputs: list[Any], module: nn.Module) -> bool:
        leaves = tree_leaves(output)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if not tensors or not all(isinstance(leaf, _PLAIN) for leaf in leaves):
            return False
        made = {_memory(tensor) for tensor in tensors}
        # A view of an input costs nothing, and later code may change both at once.
        shared = {_memory(leaf) for leaf in (*inputs, *module.parameters(), *module.buffers()) if _is_plain(leaf)}
        is_constant = all(_is_plain(tensor) and not tensor.requires_grad for tensor in tensors)
        return is_constant and not made & (self._touched | shared)

    def _depends_on_data(self, output: Any) -> tuple[bool, ...]:
        tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        return tuple(not self._knows_data or _memory(tensor) in self._of_data for tensor in tensors)

    def calls(self) -> Calls:
        """The calls in their order, with the results that later operations use; other results only have a shape."""
        used = {entry.memory for entry in self._log if isinstance(entry, _Use)}
        results = [entry for entry in self._log if isinstance(entry, _Result)]
        skipped = {result.module for result in results if result.is_stored}
        if self._decides:
            raise NothingToSkipError("its code decides by numbers that depend on the selected weights")
        if not skipped:
            raise NothingToSkipError("it uses the selected weights from its first layer on")
        return [result.stored(used) for result in results if result.module in skipped]


@dataclasses.dataclass(frozen=True)
class _Use:
    """An operation outside stored calls uses this memory."""

    memory: Any


class _Result:
    """A call of a module, with a copy of its result if it can be stored."""

    def __init__(self, module: str, output: Any = None, of_data: tuple[bool, ...] = ()) -> None:
        self.module, self.is_stored, self._of_data = module, bool(of_data), of_data
        leaves, self._structure = tree_flatten(output)
        self._leaves, self._versions = leaves, _versions(leaves)
        # Later code may change the result in place.
        self._copies = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]

    def stored(self, used: set[Any]) -> tuple[StoredCall, Any]:
        call = StoredCall(self.module, self.is_stored, _versions(self._leaves) != self._versions)
        of_data = iter(self._of_data)
        kept = [
            self._kept(leaf, copy, used, next(of_data)) if isinstance(leaf, Tensor) else leaf
            for leaf, copy in zip(self._leaves, self._copies, strict=True)
        ]
        return call, self._structure.unflatten(kept) if self.is_stored else None

    @staticmethod
    def _kept(tensor: Tensor, copy: Tensor, used: set[Any], of_data: bool) -> Tensor | Fixed:
        if _memory(tensor) not in used:
            floats = tensor.is_floating_point() or tensor.is_complex()
            copy = tensor.new_full((), math.nan if floats else 0).expand(tensor.shape)
        return copy if of_data else Fixed(copy)


def _memory(tensor: Tensor) -> Any:
    """What tells the memory of a tensor from that of others."""
    return tensor.untyped_storage()._cdata if _is_plain(tensor) else id(tensor)


def _is_plain(value: Any) -> bool:
    """Whether a tensor has memory of its own: it is not sparse, nor part of a derivative or a map of torch.func."""
    is_wrapped = isinstance(value, Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(value)
    return isinstance(value, Tensor) and value.layout == torch.strided and not is_wrapped


def _parts(*values: Any) -> list[Any]:
    """What plain containers hold; an object of another class, such as a cache of keys and values, is one part."""
    parts: list[Any] = []
    for value in values:
        if isinstance(value, list | tuple):
            parts.extend(_parts(*value))
        elif isinstance(value, dict):
            parts.extend(_parts(*value.values()))
        else:
            parts.append(value)
    return parts


def _versions(leaves: Iterable[Any]) -> list[Any]:
    """What changes where one of some tensors is changed in place, or one more is added."""
    return [leaf._version if isinstance(leaf, Tensor) else None for leaf in leaves]


_OWN = {*vars(nn.Module()), "forward"}
"""Attributes of every module; ``forward`` is replaced here."""

_HOLDERS = (Tensor, list, tuple, dict)


def _attributes(parts: list[nn.Module]) -> list[Any]:
    """The attributes and buffers of modules."""
    return [value for part in parts for value in (*_others(part), *part._buffers.values())]


def _others(part: nn.Module) -> list[Any]:
    """The attributes that not every module has."""
    return [value for name, value in vars(part).items() if name not in _OWN]


def _kept(parts: list[nn.Module]) -> list[Any]:
    """The tensors in these attributes, also within containers."""
    return [leaf for value in _attributes(parts) if isinstance(value, _HOLDERS) for leaf in _parts(value)]


def _hooks_within(module: nn.Module) -> bool:
    """Whether a module inside this one has hooks, which must run every time; its own run anyway."""
    return any(part._forward_hooks or part._forward_pre_hooks for part in module.modules() if part is not module)
