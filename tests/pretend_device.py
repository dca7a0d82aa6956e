"""A pretended GPU: tensors in main memory that answer like those of a device, and say where the host would wait for it.

A tensor of the device ``pretend`` may only meet others of it, as on a GPU, and what makes the host wait for a GPU is
noted: values that are read, shapes that depend on values, and copies between host and device that block. These are the
waits that ``torch.cuda.set_sync_debug_mode`` reports. It needs no GPU, so each limit on them is a test of every day.

To import this module adds a device to torch, which other tests would see: it belongs into a process of its own, see
``tests/test_waits.py``. What differs from a GPU: optimisers take no foreach kernels, and nothing is asynchronous.
"""

from __future__ import annotations

import collections
import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

import landscope

__all__ = ["DEVICE", "OnDevice", "Waits", "pretended_device", "waits"]

aten = torch.ops.aten


class _Module(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


_setup_privateuseone_for_python_backend("pretend", backend_module=_Module())
PACKAGE = f"{Path(landscope.__file__).parent}/"  # a clone may have the name of the package
DEVICE = torch.device("pretend", 0)

_READS = {
    aten._local_scalar_dense, aten.equal, aten.nonzero, aten.masked_select, aten._unique2, aten.unique_dim,
    aten.unique_consecutive, aten.unique_dim_consecutive, aten.bincount, aten.multinomial, aten._linalg_check_errors,
    aten._linalg_eigh, aten._linalg_svd,
}  # fmt: skip
"""Their result, or its shape, is needed on the host."""
_COPIES = {aten._to_copy, aten.copy_, aten.copy, aten._copy_from}
_WITH_INDICES = {aten.index, aten.index_put, aten.index_put_, aten._unsafe_index, aten._index_put_impl_}


class Waits(list[str]):
    """What the host waited for, in order, each as ``operation at file:line``."""

    def note(self, name: str) -> None:
        """Note a wait, and the line of landscope or of the test that asked for it."""
        frames = [f for f in traceback.extract_stack() if "/torch/" not in f.filename and f.filename != __file__]
        frame = next((f for f in reversed(frames) if f.filename.startswith(PACKAGE)), frames[-1])
        self.append(f"{name} at {frame.filename.removeprefix(PACKAGE)}:{frame.lineno}")

    def table(self) -> str:
        """How often each was waited for, the most frequent first."""
        return "\n".join(f"{n:6} {what}" for what, n in collections.Counter(self).most_common())


_LISTENING: list[Waits] = []


class OnDevice(torch.Tensor):
    """A tensor of the device, whose values lie in main memory."""

    _held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnDevice:
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            layout=held.layout, device=DEVICE, requires_grad=False,
        )  # fmt: skip
        made._held = held
        return made

    def __repr__(self) -> str:  # values without a wait
        return f"OnDevice({self._held!r})"

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def data_ptr(self) -> int:
        return self._held.data_ptr()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError("Only Tensors created explicitly by the user support the deepcopy protocol")
        if id(self) not in memo:
            copy = self.detach().clone()
            is_parameter = isinstance(self, nn.Parameter)
            memo[id(self)] = nn.Parameter(copy, self.requires_grad) if is_parameter else copy
        return memo[id(self)]

    def untyped_storage(self) -> torch.UntypedStorage:
        return self._held.untyped_storage()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on the values, as the device would, and note whether the host waits for it."""
    packet, leaves = func.overloadpacket, tree_leaves((args, kwargs))
    theirs = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    ours = [leaf for leaf in theirs if isinstance(leaf, OnDevice)]
    goal = kwargs.get("device")
    goal = None if goal is None else torch.device(goal)
    is_copy = packet in _COPIES
    if goal is not None:
        lands = is_on_device(goal)
    else:
        lands = isinstance(theirs[0], OnDevice) if packet is aten.copy_ else bool(ours)
    crosses = is_copy and any(isinstance(tensor, OnDevice) != lands for tensor in theirs)
    if packet in _WITH_INDICES and ours:
        indices = [index for index in args[1] if index is not None]
        is_read = any(not isinstance(index, OnDevice) or index.dtype in (torch.bool, torch.uint8) for index in indices)
    else:
        is_read = bool(ours) and packet in _READS
        if ours and not is_copy:
            _check_alone(func, theirs)
    if is_read or (crosses and not kwargs.get("non_blocking") and not (args[2:3] == (True,) and packet is aten.copy_)):
        for listener in _LISTENING:
            listener.note(packet.__name__)
    homes = {id(tensor._held): tensor for tensor in ours}
    inner = tree_map(_unwrapped, kwargs)
    if is_on_device(goal):
        inner["device"] = torch.device("cpu")
    found = func(*tree_map(_unwrapped, args), **inner)

    def wrap(value: Any) -> Any:
        if not isinstance(value, Tensor) or isinstance(value, OnDevice):
            return value
        if (home := homes.get(id(value))) is not None:
            assert home.shape == value.shape, f"{func} changed a shape in place"
            return home
        is_given = any(value is tensor for tensor in theirs)  # the memory of the host is not that of the device
        return OnDevice(value.clone() if is_given else value)

    if lands:
        return tree_map(wrap, found)
    return found.clone() if crosses and any(found is tensor._held for tensor in ours) else found


def _unwrapped(leaf: Any) -> Any:
    return leaf._held if isinstance(leaf, OnDevice) else leaf


def _check_alone(func: Any, tensors: list[Tensor]) -> None:
    """Raise as a GPU does where tensors of the host, except single numbers, meet tensors of the device."""
    strangers = [tensor for tensor in tensors if not isinstance(tensor, OnDevice) and tensor.ndim > 0]
    if strangers:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but {func} got one of {strangers[0].device}"
        )


def is_on_device(device: torch.device | None) -> bool:
    """Whether a device is the pretended one."""
    return device is not None and device.type == DEVICE.type


class _Factories(TorchDispatchMode):
    """Makes what is asked for on the device there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        goal = kwargs.get("device")
        if goal is not None and is_on_device(torch.device(goal)):
            return _run(func, args, kwargs)
        return func(*args, **kwargs)


class _FromNumbers(TorchFunctionMode):
    """Makes tensors from numbers in main memory first: torch does so too, but where no mode sees it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        goal = kwargs.get("device")
        if func in (torch.tensor, torch.as_tensor) and goal is not None and is_on_device(torch.device(goal)):
            return func(*args, **(kwargs | {"device": None if isinstance(args[0], Tensor) else "cpu"})).to(goal)
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[1], list):
            args = (args[0], torch.tensor(args[1]), *args[2:])
        if func in _PRODUCTS and args[0].ndim == 1 and args[1].ndim == 2:  # torch changes a shape in place there
            return (args[0][None] @ args[1])[0]
        return func(*args, **kwargs)


_PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__)


@contextlib.contextmanager
def pretended_device() -> Iterator[torch.device]:
    """A context in which the device is there."""
    with _Factories(), _FromNumbers():
        yield DEVICE


@contextlib.contextmanager
def waits() -> Iterator[Waits]:
    """Note what the host waits for within the context."""
    found = Waits()
    _LISTENING.append(found)
    try:
        yield found
    finally:
        _LISTENING.remove(found)
