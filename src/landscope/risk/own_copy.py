"""Copies of a user's loss function with what it holds, so that a risk stays the same while a teacher is trained."""

from __future__ import annotations

import copy
import dis
import functools
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from landscope.errors import InputError
from landscope.parameters import named_layers, named_tensors
from landscope.wording import error_text

__all__ = ["OwnCopies"]

_DEPTH = 3
"""Objects within objects that are looked into."""
_LIBRARIES = ("torch", "landscope", "numpy", "transformers", "lightning", "accelerate", *sys.builtin_module_names)
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


class OwnCopies:
    """Copies functions, with the modules and tensors that they hold, next to the copy of the model.

    A function holds what stands in its closure, its defaults, the global names that it uses, the arguments of a
    ``functools.partial``, and the attributes of the object that a method is bound to. Other values that a closure or a
    global name holds, such as numbers, are kept as they are now. The model itself becomes its copy, whose selected
    parameters a risk replaces. ``generators`` are the copies of random generators.

    Args:
        model: The model of the user.
        own: Its copy.
        selected: Names of the selected parameters.
    """

    def __init__(self, model: nn.Module, own: nn.Module, selected: tuple[str, ...]) -> None:
        copies = dict(own.named_modules())
        self._inside = {id(module): copies[name] for name, module in named_layers(model) if name in copies}
        named = named_tensors(model)
        self._selected = {id(named[name]): name for name in selected if name in named}
        self._memo: dict[int, Any] = dict(self._inside)
        self._done: dict[int, tuple[Any, Any]] = {}  # the original too: an object that is gone gives its number away
        self._uses_model = False
        self.generators: list[torch.Generator] = []

    @property
    def uses_model(self) -> bool:
        """Whether a copied function holds the model or a part of it."""
        return self._uses_model

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A copy of a function.

        Raises:
            InputError: If the function holds selected weights apart from the model, or something that has no copy.
        """
        return self._copied(function, _DEPTH)

    def _copied(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool | int | float | str | bytes):
            return value
        if id(value) not in self._done:
            self._done[id(value)] = (value, value)  # a cycle ends here
            self._done[id(value)] = (value, self._new(value, depth))
        return self._done[id(value)][1]

    def _new(self, value: Any, depth: int) -> Any:
        if isinstance(value, nn.Module):
            return self._module(value)
        if isinstance(value, Tensor):
            self._refuse_selected(value)
            return value.detach().clone().requires_grad_(value.requires_grad)
        if isinstance(value, torch.Generator):
            self.generators.append(value.clone_state())
            return self.generators[-1]
        if isinstance(value, np.ndarray):
            return value.copy()
        if isinstance(value, types.FunctionType):
            original = getattr(value, "_torchdynamo_orig_callable", None)  # torch.compile: the plain function will do
            return self._function(value) if original is None else self._copied(original, depth)
        if isinstance(value, types.MethodType):
            return types.MethodType(self._copied(value.__func__, depth), self._copied(value.__self__, depth))
        if isinstance(value, functools.partial):
            keywords = {name: self._copied(part, depth) for name, part in value.keywords.items()}
            return functools.partial(
                self._copied(value.func, depth), *(self._copied(part, depth) for part in value.args), **keywords
            )
        if type(value) in (list, tuple, set):
            return self._container(value, type(value)(self._copied(part, depth) for part in value), list(value))
        if type(value) is dict:
            parts = {name: self._copied(part, depth) for name, part in value.items()}
            return self._container(value, parts, list(value.values()))
        return self._object(value, depth) if depth and _is_of_user(value) else value

    def _container(self, value: Any, own: Any, parts: list[Any]) -> Any:
        """The copy of a container; itself if it holds nothing that was copied."""
        return own if any(self._copied(part, 0) is not part for part in parts) else value

    def _module(self, module: nn.Module) -> nn.Module:
        for part in module.modules():
            if id(part) in self._inside:
                self._uses_model = True
                continue
            for tensor in part._parameters.values():
                self._refuse_selected(tensor)
        if id(module) in self._inside:
            return self._inside[id(module)]
        try:
            return copy.deepcopy(module, self._memo)
        except Exception as error:
            raise InputError(
                expected="a loss whose modules can be copied",
                got=f"{type(module).__name__}: {error_text(error)}",
                hint="Let the module keep no results of a forward pass as attributes. Or compute its outputs before, "
                "and pass them as parts of the targets.",
            ) from error

    def _refuse_selected(self, tensor: Tensor | None) -> None:
        if id(tensor) in self._selected:
            raise InputError(
                expected="a loss that uses the selected weights through the model",
                got=f"a function that holds {self._selected[id(tensor)]} itself",
                hint="Pass losses=f, or call EmpiricalRisk.from_closure(model, f, data), and let f(model, batch) take "
                "the weights from the model in its argument.",
            )

    def _function(self, function: types.FunctionType) -> types.FunctionType:
        is_of_library = _is_of_library(function)
        if is_of_library and function.__closure__ is None:
            return function
        names = set() if is_of_library else set(_names_in(function.__code__))
        scope = function.__globals__ if is_of_library else {
            name: function.__globals__[name]
            for name in {*names, "__builtins__", "__name__", "__file__"}
            if name in function.__globals__
        }  # fmt: skip
        cells = tuple(types.CellType() for _ in function.__closure__ or ())
        own = types.FunctionType(function.__code__, scope, function.__name__, None, cells)
        self._done[id(function)] = (function, own)  # before its parts: it may hold itself
        for cell, old in zip(cells, function.__closure__ or (), strict=True):
            try:
                held = old.cell_contents
            except ValueError:  # not set yet
                continue
            cell.cell_contents = self._copied(held, _DEPTH)
        scope.update({name: self._copied(scope[name], _DEPTH) for name in names if name in scope})
        defaults, keywords = function.__defaults__, function.__kwdefaults__
        own.__defaults__ = None if defaults is None else tuple(self._copied(part, _DEPTH) for part in defaults)
        own.__kwdefaults__ = None if keywords is None else {n: self._copied(v, _DEPTH) for n, v in keywords.items()}
        functools.update_wrapper(own, function)
        vars(own).pop("__wrapped__")
        return own

    def _object(self, value: Any, depth: int) -> Any:
        """A copy of an object that holds modules, tensors or functions; itself if it holds none."""
        attributes = dict(vars(value))
        own = {name: self._copied(part, depth - 1) for name, part in attributes.items()}
        if all(own[name] is part for name, part in attributes.items()):
            return value
        twin = copy.copy(value)
        vars(twin).update(own)
        return twin


def _names_in(code: types.CodeType) -> Iterator[str]:
    """Global names that a function uses, also in functions within it; ``co_names`` would add those of attributes."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


def _is_of_library(function: types.FunctionType) -> bool:
    root = (function.__module__ or "").partition(".")[0]
    return root in _LIBRARIES or function.__code__.co_filename.startswith(_INSTALLED)


def _is_of_user(value: Any) -> bool:
    """Whether a value is an object of a class of the user that may hold modules."""
    if isinstance(value, type | types.ModuleType | Mapping | Dataset | torch.optim.Optimizer) or not hasattr(
        value, "__dict__"
    ):
        return False
    if isinstance(value, types.SimpleNamespace):
        return True
    module = sys.modules.get(type(value).__module__)
    path = getattr(module, "__file__", None) or ""
    root = type(value).__module__.partition(".")[0]
    return root not in _LIBRARIES and root != "builtins" and not path.startswith(_INSTALLED)
