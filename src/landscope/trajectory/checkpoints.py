"""Checkpoints as rows of a trajectory: the state of one file at a time, fitted to the names of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from landscope._checks import check_finite, check_vector
from landscope.errors import InputError, StorageError
from landscope.notices import as_copy_of
from landscope.parameters import ParameterSpace, named_tensors
from landscope.sharded import whole_copy
from landscope.trajectory.adapters import holds_adapters, named_as_model
from landscope.trajectory.checkpoint_files import Source, read_checkpoint
from landscope.trajectory.checkpoint_folders import is_adapter_file
from landscope.wording import first_lines

__all__ = ["CheckpointRows", "load_checkpoint", "load_weights", "model_of_row", "own_copy"]

_USUAL = ("", "model.", "module.")
"""Prefixes that trainers give to the model that is trained."""
_DEEPEST = 4
"""Parts of a name that a prefix may have, and one."""


def load_weights(given: Any, model: nn.Module, space: ParameterSpace, where: str = "") -> None:
    """Load given weights into a model: a checkpoint, or the selected weights alone; the others then stay.

    Args:
        given: A checkpoint, see :func:`load_checkpoint`; a vector of all selected weights; a tensor in the shape of the
            selected parameter, where it is one; or the selected tensors by name.
        model: The model.
        space: The selected parameters.
        where: What it is, for errors, such as " for w0".

    Raises:
        InputError: If the weights are of another model.
        StorageError: If they cannot be read.
    """
    is_parts = isinstance(given, Mapping) and set(given) == set(space.names)
    if not is_parts and not isinstance(given, Tensor):
        load_checkpoint(given, model, where, space.names)
        return
    if isinstance(given, Mapping):
        given = space.flatten(given)
    if tuple(given.shape) not in ((space.dim,), *(space.shapes if len(space.shapes) == 1 else ())):
        names = f"{', '.join(space.names[:4])}{', ...' * (len(space.names) > 4)}"
        raise InputError(
            expected=f"a vector of the {space.dim} weights of {names}{where}", got=f"a tensor of {tuple(given.shape)}",
            hint="Pass space.flatten(model), the tensors by name, a state dict, or a whole model.",
        )  # fmt: skip
    vector = check_vector(f"the vector{where}", given.detach().reshape(-1), dim=space.dim)
    space.assign(model, vector)


def load_checkpoint(source: Any, model: nn.Module, where: str = "", needed: Collection[str] = ()) -> None:
    """Load the parameters and buffers of a checkpoint into a model, or the parameters of adapters alone.

    Names that a trainer put before those of the model ("model." of Lightning, "module." of DDP, "_orig_mod." of
    torch.compile) are taken off; tensors under other names of the trainer are left out. A tied tensor may stand under
    one of its names.

    Args:
        source: A checkpoint, see :func:`landscope.trajectory.checkpoint_files.read_checkpoint`, or a model.
        model: The model.
        where: Which checkpoint it is, for errors, such as " for step 8".
        needed: Parameters that adapters must hold; by default those that require a gradient.

    Raises:
        InputError: If the checkpoint is of another model.
        StorageError: If it cannot be read.
    """
    if not isinstance(source, nn.Module | Mapping | str | PathLike):
        raise InputError(
            expected=f"a state dict, or the path of one,{where}" if where else "a state dict, or the path of one",
            got=type(source).__name__,
            hint="Pass model.state_dict(), or a file of it.",
        )
    state = source.state_dict() if isinstance(source, nn.Module) else read_checkpoint(source)
    own = named_tensors(model)
    if is_adapter_file(source) or holds_adapters(state, own):
        with torch.no_grad():
            for name, value in named_as_model(state, own, needed, where).items():
                own[name].copy_(value)
        return
    try:
        model.load_state_dict(_fitted(state, model))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise InputError(
            expected=f"a checkpoint of this model{where}",
            got=first_lines(error, 2),  # the heading of the error of load_state_dict, and its first reason
            hint=_names_that_differ(state, own) + "Pass the model that was trained, and its checkpoint.",
        ) from error


def _names_that_differ(state: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Names and shapes of a model and of a checkpoint where most are different; empty where the error names them."""
    expected, found = (
        {f"{name} {list(value.shape)}" for name, value in tensors.items() if isinstance(value, Tensor)}
        for tensors in (own, state)
    )
    if 2 * len(expected & found) > len(expected):
        return ""
    return f"It is of another model: expected {_some(expected - found)}; found {_some(found - expected)}. "


def _some(names: Collection[str]) -> str:
    return ", ".join(sorted(names)[:3]) + ", ..." * (len(names) > 3) if names else "no others"


def _fitted(state: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """The entries of a state dict under the names of the model."""
    own = model.state_dict(keep_vars=True)
    state = {name.replace("_orig_mod.", ""): value for name, value in state.items()}
    names = {name.replace("_orig_mod.", ""): name for name in own}
    prefix = _prefix(names, state)
    if prefix:  # what a trainer keeps beside the model is not of the model
        state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    fitted = {names.get(name, name): value for name, value in state.items()}
    for name, value in own.items():
        if not isinstance(value, Tensor):
            fitted.setdefault(name, value)  # what a layer keeps beside tensors stays as the model has it
        elif name not in fitted:
            ties = [other for other, tensor in own.items() if tensor is value and other in fitted]
            fitted |= {name: fitted[ties[0]]} if ties else {}
    return fitted


def _prefix(names: Iterable[str], state: Mapping[str, Any]) -> str:
    """What stands before the names of the model in a state dict: the prefix that fits most of the names."""
    known = set(names)
    counts: dict[str, int] = {"": sum(name in known for name in state)}
    for name in state:
        parts = name.split(".")
        for depth in range(1, min(_DEEPEST, len(parts))):
            if ".".join(parts[depth:]) in known:
                prefix = ".".join(parts[:depth]) + "."
                counts[prefix] = counts.get(prefix, 0) + 1
    best = [prefix for prefix, count in counts.items() if count == max(counts.values())]
    usual = [prefix for prefix in _USUAL if prefix in best]
    if len(best) > 1 and not usual:
        raise InputError(
            expected="the weights of this model once in the checkpoint",
            got=f"under {' and '.join(repr(prefix) for prefix in best)}",
            hint="Pass a state dict of one of them: {step: {name: tensor}}.",
        )
    return usual[0] if usual else best[0]


@dataclasses.dataclass(frozen=True)
class CheckpointRows:
    """Rows that are read from checkpoints, one whole model at a time.

    Args:
        model: A model of its own, which the checkpoints are loaded into.
        space: Parameters of the columns.
        sources: The checkpoints, in order.
        dtype: Floating type of the rows.
    """

    model: nn.Module
    space: ParameterSpace
    sources: tuple[Any, ...]
    dtype: torch.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, and of weights."""
        return (len(self.sources), self.space.dim)

    def read(self, start: int, stop: int, columns: slice = slice(None)) -> Tensor:
        """Rows ``start`` to ``stop``, all columns or some."""
        rows = torch.empty(max(0, stop - start), len(range(*columns.indices(self.space.dim))), dtype=self.dtype)
        for place, source in enumerate(self.sources[start:stop]):
            name = f" at {source}" if isinstance(source, str) else f" of row {start + place + 1}"
            load_checkpoint(source, self.model, name, self.space.names)
            row = check_finite(
                f"weights in the checkpoint{name}", self.space.flatten(self.model), hint="Leave this checkpoint out."
            )
            rows[place] = row[columns]
        return rows


def model_of_row(
    model: nn.Module, row: Tensor, space: ParameterSpace | None, step: int, source: Source | None
) -> nn.Module:
    """A copy of a model with the weights of a row, and everything else of its checkpoint.

    Without a checkpoint the row must be all that training changes: every parameter, of a model without buffers.
    """
    whole = own_copy(model)
    if source is None:
        _set_all(whole, row, space, step)
        return whole
    load_checkpoint(source, whole, needed=() if space is None else space.names)
    if space is not None and not torch.equal(space.flatten(whole).to("cpu", row.dtype), row.cpu()):
        raise StorageError(
            expected=f"the checkpoint that the row of step {step} was taken from",
            got=f"other weights in {source if isinstance(source, str | PathLike) else 'the state dict'}",
            hint="The checkpoint was overwritten; make the trajectory again.",
        )
    return whole


def _set_all(whole: nn.Module, row: Tensor, space: ParameterSpace | None, step: int) -> None:
    missing = _not_in_rows(whole, space)
    if space is None or missing:
        raise InputError(
            expected=f"the whole model at step {step}",
            got=f"a trajectory without {', '.join(missing[:4])}{', ...' * (len(missing) > 4)}"
            if missing
            else "a trajectory that does not know its parameters",
            hint="A study keeps whole models: study.risk(step). For checkpoints use Trajectory.from_checkpoints.",
        )
    space.assign(whole, row)


def _not_in_rows(model: nn.Module, space: ParameterSpace | None) -> list[str]:
    """Parameters and buffers that the rows do not hold."""
    if space is None:
        return []
    return [name for name, _ in (*model.named_parameters(), *model.named_buffers()) if name not in space.names]


def own_copy(model: nn.Module) -> nn.Module:
    """A copy that may be loaded into; the user's model stays as it is."""
    with torch.no_grad():
        return as_copy_of(model, whole_copy(model))
