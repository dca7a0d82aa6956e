"""A switch that turns mixed precision and TF32 off, because a loss with 3 digits makes staircases of lines."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import torch

__all__ = ["full_precision", "in_full_precision", "is_autocast_on", "is_reduced"]

K = TypeVar("K", bound=type)

_DEVICES = ("cpu", "cuda", "mps", "xpu")
_DUNDER = ("__init__", "__call__")
_COARSE = ("tf32", "bf16")
_OF_EACH = ("matmul", "conv", "rnn")
"""Kinds of operations that have a precision of their own."""


def is_autocast_on() -> bool:
    """Whether ``torch.autocast`` is switched on, for any device."""
    return any(map(torch.is_autocast_enabled, _DEVICES))


def is_reduced() -> bool:
    """Whether products of float32 have fewer digits: by ``torch.autocast``, TF32 or bfloat16 inside of them.

    A GPU takes TF32 for convolutions unless it is told otherwise; a CPU takes it, or bfloat16, after
    ``torch.set_float32_matmul_precision("high")`` or ``"medium"``.
    """
    return is_autocast_on() or _is_coarse()


def _is_coarse() -> bool:
    places = _places() if _has_cuda() else _places()[: len(_OF_EACH)]
    return any(place.fp32_precision in _COARSE for place in places)


@functools.cache
def _has_cuda() -> bool:
    return torch.cuda.is_available()


@functools.cache
def _places() -> tuple[Any, ...]:
    """Where torch keeps the precision of float32 products, those of the CPU first; none before torch 2.9."""
    cpu, cuda, cudnn = torch.backends.mkldnn, torch.backends.cuda, torch.backends.cudnn
    if not hasattr(cudnn, "conv") or not hasattr(cpu, "matmul"):
        return _LegacyPlace("matmul"), _LegacyPlace("conv")
    return *(getattr(cpu, name) for name in _OF_EACH), cuda.matmul, *(getattr(cudnn, name) for name in _OF_EACH[1:])


class _LegacyPlace:
    """The precision of older versions of torch, under the names of newer ones."""

    def __init__(self, kind: str) -> None:
        self._is_matmul = kind == "matmul"

    @property
    def fp32_precision(self) -> str:
        """Whether products are coarser than float32."""
        coarse = torch.get_float32_matmul_precision() != "highest" if self._is_matmul else _legacy_of_convolutions()
        return "tf32" if coarse else "ieee"


def _legacy_of_convolutions() -> bool:
    return _has_cuda() and torch.backends.cudnn.allow_tf32


@contextlib.contextmanager
def _in_float32() -> Generator[None]:
    """Products of float32 in float32; the settings of the user come back, those that torch keeps twice too."""
    if not _is_coarse():
        yield
        return
    places = [place for place in _places() if not isinstance(place, _LegacyPlace)]
    before = [place.fp32_precision for place in places]
    matmul, convolutions = _legacy(torch.get_float32_matmul_precision), _legacy(lambda: torch.backends.cudnn.allow_tf32)
    try:
        if matmul is not None:
            torch.set_float32_matmul_precision("highest")
        if convolutions is not None:
            torch.backends.cudnn.allow_tf32 = False
        for place in places:
            if place.fp32_precision in _COARSE:
                place.fp32_precision = "ieee"
        yield
    finally:
        if matmul is not None:
            torch.set_float32_matmul_precision(matmul)
        if convolutions is not None:
            torch.backends.cudnn.allow_tf32 = convolutions
        for place, precision in zip(places, before, strict=True):
            if place.fp32_precision != precision:
                place.fp32_precision = precision


def _legacy(read: Callable[[], Any]) -> Any:
    """A setting in the older of torch's two ways; None where the user has set it in the newer way alone."""
    try:
        return read()
    except RuntimeError:
        return None


@contextlib.contextmanager
def full_precision() -> Generator[None]:
    """Switch ``torch.autocast`` and TF32 off, and restore them afterwards.

    Backward passes and products of derivatives need it as well: torch casts also these. TF32 is switched for the whole
    process, so that it is off meanwhile in other threads too.

    Example:
        >>> a = torch.full((1, 1), 1.001)
        >>> with torch.autocast("cpu", dtype=torch.bfloat16), full_precision():
        ...     (a @ a).dtype
        torch.float32
    """
    with contextlib.ExitStack() as stack:
        for device in filter(torch.is_autocast_enabled, _DEVICES):
            stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(_in_float32())
        yield


def in_full_precision(kind: K) -> K:
    """Let the public methods of a class run in full precision, wherever they are called.

    Example:
        >>> @in_full_precision
        ... class Square:
        ...     def __call__(self, a):
        ...         return a @ a
        >>> with torch.autocast("cpu", dtype=torch.bfloat16):
        ...     Square()(torch.ones(1, 1)).dtype
        torch.float32
    """
    for name, member in list(vars(kind).items()):
        if name.startswith("_") and name not in _DUNDER:
            continue
        if isinstance(member, classmethod):
            setattr(kind, name, classmethod(_wrapped(member.__func__)))
        elif inspect.isfunction(member):
            setattr(kind, name, _wrapped(member))
    return kind


def _wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.isgeneratorfunction(inspect.unwrap(function)):

        @functools.wraps(function)
        def items(*arguments: Any, **keywords: Any) -> Generator[Any, Any, Any]:
            found, answer = function(*arguments, **keywords), None
            while True:
                try:
                    with full_precision():
                        item = found.send(answer)
                except StopIteration as stop:
                    return stop.value
                answer = yield item

        return items

    @functools.wraps(function)
    def value(*arguments: Any, **keywords: Any) -> Any:
        if not is_reduced():
            return function(*arguments, **keywords)
        with full_precision():
            return function(*arguments, **keywords)

    return value
