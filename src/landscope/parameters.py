"""Selected parameters of a model as one vector of R^N; only this module flattens and unflattens weights."""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import math
from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from landscope._checks import check_kind, check_one_point, check_vector
from landscope.errors import InputError
from landscope.sharded import assign, reshard, whole
from landscope.shown import in_lines

__all__ = ["ParameterSpace", "Selection", "inner_model", "named_layers", "named_tensors", "plain_name"]

_MOST_NAMES = 10

Selection = str | type[nn.Module]
"""A glob over the names of parameters or modules, or a class of modules."""


def inner_model(model: nn.Module) -> nn.Module:
    """The model inside the wrappers of ``torch.compile``, data parallelism and averaging.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> inner_model(torch.nn.DataParallel(model)) is model
        True
    """
    while True:
        if isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):  # made by torch.compile
            model = inner
        elif isinstance(model, DataParallel | DistributedDataParallel | AveragedModel):
            model = model.module
        else:
            return model


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The parameters of the inner model, each under all its names, without what ``torch.compile`` adds to them."""
    reshard(model)
    parameters = inner_model(model).named_parameters(remove_duplicate=False)
    return {plain_name(name): tensor for name, tensor in parameters}


def named_layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules of the inner model; what ``torch.compile`` made stands before the layer in it, under one name."""
    modules = inner_model(model).named_modules(remove_duplicate=False)
    return [(plain_name(f"{name}.").removesuffix("."), module) for name, module in modules]


def plain_name(name: str) -> str:
    """The name of a parameter without what ``torch.compile`` adds to it."""
    return name.replace("_orig_mod.", "")


@dataclasses.dataclass(frozen=True, repr=False)
class ParameterSpace:
    """A selection of named parameters as one vector, in the order of the model.

    Create a space with :meth:`of`. Equal spaces describe the same vector of R^N.

    Args:
        names: Parameter names, as in ``model.named_parameters()`` of the model inside its wrappers.
        shapes: Shape of each parameter.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
        >>> space = ParameterSpace.of(model, select="*.weight")
        >>> space.names, space.dim
        (('0.weight', '2.weight'), 8)
        >>> w = space.flatten(model)
        >>> bool((space.unflatten(w)["2.weight"] == model[2].weight).all())
        True
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @property
    def in_words(self) -> str:
        """The size of the space, such as "44 weights in 4 parameters"."""
        return f"{self.dim:,} weights in {len(self.names)} parameters"

    def __repr__(self) -> str:
        fields = {name: str(list(shape)) for name, shape in zip(self.names[:_MOST_NAMES], self.shapes, strict=False)}
        if (more := len(self.names) - len(fields)) > 0:
            fields["..."] = f"{more} more"
        return in_lines(f"ParameterSpace of {self.in_words}", **fields)

    @classmethod
    def of(
        cls, model: nn.Module, select: Selection | Iterable[Selection] | ParameterSpace | None = None
    ) -> ParameterSpace:
        """Select parameters of ``model`` by name, layer, or class of layers.

        Args:
            model: Any module; of a wrapper (``torch.compile``, data parallelism, ``AveragedModel``) its inner model.
            select: A glob over parameter names (``"2.weight"``, ``"encoder.*"``); a glob over module names, which
                selects all their parameters (``"encoder.layers.0"``); a class of modules (``torch.nn.Linear``);
                several of these; None for every parameter that requires a gradient; or an existing space.

        Returns:
            The space of the selected parameters.

        Raises:
            InputError: If a pattern is not valid or matches nothing, or a selected parameter has no shape yet, has an
                integer dtype, is tied to a parameter outside the selection, or differs in dtype or device from the
                others; or if the model is one of ``FullyShardedDataParallel``, which ``fully_shard`` replaces.
        """
        check_kind("the model", model, nn.Module, hint="Pass the model itself, not its parameters or its state.")
        if isinstance(select, ParameterSpace):
            select.tensors(model)
            return select
        everything = named_tensors(model)
        selected = _selected(inner_model(model), everything, select)
        _check_keeps_shapes(model)
        _check_dtypes(selected)
        return cls(*_without_aliases(everything, selected))

    def part(self, select: str | Iterable[str]) -> ParameterSpace:
        """The space of a part of the selected parameters.

        Args:
            select: Globs over the parameter names or over the names of their layers.

        Raises:
            InputError: If a pattern matches nothing.
        """
        chosen: set[str] = set()
        for pattern in (select,) if isinstance(select, str) else select:
            names = _names_like(self.names, pattern)
            if not names:
                raise _no_match(self.names, pattern)
            chosen |= names
        kept = [(name, shape) for name, shape in zip(self.names, self.shapes, strict=True) if name in chosen]
        return ParameterSpace(tuple(name for name, _ in kept), tuple(shape for _, shape in kept))

    def columns(self, names: Iterable[str]) -> Int[Tensor, " n"]:
        """The positions in the vector of the weights of the parameters ``names``, ``[n]``, from 0."""
        ends = list(itertools.accumulate(self.sizes))
        positions = {
            name: torch.arange(end - n, end) for name, n, end in zip(self.names, self.sizes, ends, strict=True)
        }
        return torch.cat([positions[name] for name in names])

    @property
    def layers(self) -> dict[str, list[str]]:
        """Names of the parameters of each module, by the name of the module.

        Example:
            >>> ParameterSpace(("0.weight", "0.bias", "1.weight"), ((1, 3), (1,), (2,))).layers
            {'0': ['0.weight', '0.bias'], '1': ['1.weight']}
        """
        layers: dict[str, list[str]] = {}
        for name in self.names:
            layers.setdefault(name.rpartition(".")[0], []).append(name)
        return layers

    @property
    def dim(self) -> int:
        """Number of selected weights, N."""
        return sum(self.sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of weights of each parameter."""
        return tuple(math.prod(shape) for shape in self.shapes)

    def flatten(self, source: nn.Module | Mapping[str, Tensor]) -> Float[Tensor, " N"]:
        """A copy of the selected weights as one vector.

        Args:
            source: A model, or tensors by parameter name, such as a ``state_dict``.

        Returns:
            The vector ``w[N]``, detached.

        Raises:
            InputError: If a parameter is missing or has another shape, because the source is another model.
        """
        tensors = [tensor.detach() for tensor in self.tensors(source)]
        if any(tensor.is_meta for tensor in tensors):
            raise InputError(
                expected="weights with values",
                got="weights on the meta device, which have none",
                hint="Load the weights first, as by model.to_empty(device=...) and load_state_dict(...).",
            )
        return torch.cat([whole(tensor).reshape(-1) for tensor in tensors])

    def assign(self, model: nn.Module, w: Float[Tensor, " N"]) -> None:
        """Write a vector of selected weights into a model.

        Args:
            model: The model.
            w: A vector of length ``dim``.

        Raises:
            InputError: If the length is not ``dim``, or a parameter is missing or has another shape.
        """
        assign(model, self.tensors(model), self.unflatten(w).values())

    def unflatten(self, w: Float[Tensor, " N"]) -> dict[str, Tensor]:
        """Views of ``w`` in the shapes of the parameters, by name.

        Args:
            w: A vector of length ``dim``.

        Returns:
            Tensors by parameter name; they share the memory and the graph of ``w``.

        Raises:
            InputError: If the length is not ``dim``.
        """
        if w.shape != (self.dim,):
            check_one_point("w", check_vector("w", w, dim=self.dim))
        parts = torch.split(w, list(self.sizes))
        return {name: part.view(shape) for name, part, shape in zip(self.names, parts, self.shapes, strict=True)}

    def tensors(self, source: nn.Module | Mapping[str, Tensor]) -> list[Tensor]:
        """The tensors of ``source`` in this selection, in order and without a copy.

        Raises:
            InputError: If one is missing or has another shape.
        """
        by_name = named_tensors(source) if isinstance(source, nn.Module) else source
        missing = [name for name in self.names if name not in by_name]
        if missing:
            raise InputError(
                expected=f"a model with the parameters {', '.join(self.names)}",
                got=f"a model without {', '.join(missing)}",
                hint="Use the model from which the selection was made.",
            )
        tensors = [by_name[name] for name in self.names]
        for name, tensor, shape in zip(self.names, tensors, self.shapes, strict=True):
            if tuple(tensor.shape) != shape:
                raise InputError(
                    expected=f"{name} of shape {shape}",
                    got=f"{tuple(tensor.shape)}",
                    hint="Use the model from which the selection was made.",
                )
        return tensors


def _selected(
    model: nn.Module, everything: Mapping[str, Tensor], select: Selection | Iterable[Selection] | None
) -> dict[str, Tensor]:
    if select is None:
        selected = {name: tensor for name, tensor in everything.items() if tensor.requires_grad}
        if not selected and not everything:
            raise _no_match(everything, "parameters that require a gradient")
        if not selected:
            raise InputError(
                expected="parameters that require a gradient", got="a model in which all are frozen",
                hint="Call requires_grad_(True) on those that are trained, or select frozen ones by their names, as by "
                f'ParameterSpace.of(model, "*"). {_names_of(everything)}',
            )  # fmt: skip
        return selected
    several = isinstance(select, Iterable) and not isinstance(select, str | type)
    chosen: set[str] = set()
    for pattern in tuple(select) if several else (select,):
        if not isinstance(pattern, str | type):
            raise InputError(
                expected="a glob over names or a class of modules, or several of these", got=repr(pattern),
                hint='Pass, for example, "*.weight", "encoder.layers.0" or torch.nn.Linear.',
            )  # fmt: skip
        by_class = isinstance(pattern, type)
        names = _names_of_kind(model, pattern) if by_class else _names_like(everything, pattern)
        if not names:
            raise _no_match(everything, pattern.__name__ if by_class else pattern)
        chosen |= names
    if not chosen:
        raise _no_match(everything, "an empty selection")
    return {name: tensor for name, tensor in everything.items() if name in chosen}


def _names_like(everything: Iterable[str], pattern: str) -> set[str]:
    """The parameters with a matching name; if there are none, all parameters of the modules with a matching name."""
    names = list(everything)
    return set(fnmatch.filter(names, pattern) or fnmatch.filter(names, f"{pattern}.*"))


def _names_of_kind(model: nn.Module, kind: type) -> set[str]:
    """The direct parameters of the modules of one class."""
    modules = [(name, part) for name, part in model.named_modules(remove_duplicate=False) if isinstance(part, kind)]
    return {
        plain_name(f"{name}.{local}" if name else local)
        for name, part in modules
        for local, _ in part.named_parameters(recurse=False, remove_duplicate=False)
    }


def _no_match(everything: Iterable[str], asked: str) -> InputError:
    return InputError(
        expected=f"a selection that matches parameters of the model ({asked})",
        got="no match",
        hint=_names_of(everything),
    )


def _names_of(everything: Iterable[str]) -> str:
    names = list(everything)
    listing = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"The model has: {listing or 'no parameters'}."


def _check_keeps_shapes(model: nn.Module) -> None:
    """Raise if FSDP of the first kind has joined parameters into vectors, of which nothing tells the shapes."""
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        raise InputError(
            expected="parameters that keep their shapes", got="those of FullyShardedDataParallel, which joins them",
            hint="Shard it with torch.distributed.fsdp.fully_shard(model), which replaces that class.",
        )  # fmt: skip


def _check_dtypes(selected: Mapping[str, Tensor]) -> None:
    for name, tensor in selected.items():
        if nn.parameter.is_lazy(tensor):
            raise InputError(
                expected="parameters with a shape", got=f"{name}, of a lazy layer", hint="Call the model once first."
            )
        if not tensor.is_floating_point():
            raise InputError(
                expected="floating-point parameters",
                got=f"{name} of {tensor.dtype}",
                hint="Select other parameters. A complex parameter can be stored as a real one with two parts: "
                "torch.view_as_real(p) in the model, and torch.view_as_complex in its forward method."
                if tensor.is_complex()
                else "Select other parameters.",
            )
    kinds = {(tensor.dtype, tensor.device) for tensor in selected.values()}
    if len(kinds) > 1:
        listing = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
        raise InputError(
            expected="selected parameters of one dtype on one device",
            got=listing,
            hint="Make a separate selection for each dtype and device.",
        )


def _without_aliases(
    everything: Mapping[str, Tensor], selected: Mapping[str, Tensor]
) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Count a tied tensor once, and refuse a selection that contains only some of its names."""
    names_by_tensor: dict[int, str] = {}
    for name, tensor in selected.items():
        aliases = [other for other, candidate in everything.items() if candidate is tensor]
        left_out = [other for other in aliases if other not in selected]
        if left_out:
            raise InputError(
                expected="a tied parameter to be selected under all its names",
                got=f"{name} without {', '.join(left_out)}, the same tensor",
                hint=f"Select {', '.join(aliases)} together: they are one tensor.",
            )
        names_by_tensor.setdefault(id(tensor), name)
    names = tuple(names_by_tensor.values())
    return names, tuple(tuple(selected[name].shape) for name in names)
