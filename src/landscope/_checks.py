"""Checks of arguments: each function raises an error, or returns the value ready for use."""

from __future__ import annotations

import contextlib
import math
import os
import traceback
from collections.abc import Collection, Generator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from landscope.errors import InputError, LandscopeError, NonFiniteError
from landscope.full_precision import full_precision
from landscope.wording import error_text

__all__ = [
    "check_choice",
    "check_count",
    "check_directions",
    "check_finite",
    "check_hooked",
    "check_kind",
    "check_landscape",
    "check_momentum",
    "check_number",
    "check_one_point",
    "check_path",
    "check_positive",
    "check_ratio",
    "check_seed",
    "check_share",
    "check_start",
    "check_strength",
    "check_tolerance",
    "check_trajectory",
    "check_vector",
    "device_with_float64",
    "explained",
    "for_float64",
    "generator_of",
    "is_number",
]

T = TypeVar("T")


def check_count(name: str, value: int, *, minimum: int = 1, maximum: int | None = None, hint: str | None = None) -> int:
    """Return ``value`` if it is an integer of at least ``minimum``, and at most ``maximum`` where there is one."""
    highest = math.inf if maximum is None else maximum
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= highest:
        reach = f"of at least {minimum}" if maximum is None else f"between {minimum} and {maximum}"
        raise InputError(
            expected=f"{name} to be an integer {reach}", got=repr(value), hint=hint or f"Pass an integer {reach}."
        )
    return value


def check_positive(name: str, value: float, *, hint: str = "Pass a positive number.") -> float:
    """Return ``value`` if it is finite and above zero."""
    if not is_number(value) or not (math.isfinite(value) and value > 0):
        raise InputError(expected=f"{name} to be positive and finite", got=repr(value), hint=hint)
    return value


def is_number(value: Any) -> bool:
    """Whether a value is one real number, also one of numpy or torch."""
    if isinstance(value, Tensor):
        return value.numel() == 1 and not value.is_complex() and value.dtype != torch.bool
    if isinstance(value, str | bytes | bool | np.bool_):
        return False
    try:
        float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return False
    return True


def check_strength(name: str, value: float) -> float:
    """Return ``value`` if it is a finite number of at least zero."""
    if not is_number(value) or not 0 <= value < math.inf:
        raise InputError(expected=f"a finite {name} of at least 0", got=repr(value), hint="Pass a plain number.")
    return value


def check_seed(value: int, name: str = "seed") -> int:
    """Return ``value`` if every generator takes it as a seed: an integer from 0 to 2^63 - 1."""
    return check_count(name, value, minimum=0, maximum=2**63 - 1, hint="Pass a plain integer, such as 0.")


def generator_of(seed: int) -> torch.Generator:
    """A generator of random numbers with a seed that is checked."""
    return torch.Generator().manual_seed(check_seed(seed))


def check_share(name: str, value: float, *, hint: str | None = None) -> float:
    """Return ``value`` if it lies between 0 and 1, without these, as levels and fractions do."""
    if not is_number(value) or not 0 < value < 1:
        raise InputError(
            expected=f"{name} between 0 and 1", got=repr(value), hint=hint or "Write 95 % as 0.95, for example."
        )
    return value


def check_tolerance(name: str, value: float, *, finest: float = 0.0) -> float:
    """Return ``value`` if it is a relative tolerance: below 1, above 0, and not finer than the arithmetic."""
    if not is_number(value) or not max(finest, math.ulp(0.0)) <= value < 1:
        reach = f"of at least {finest:g}" if finest else "above 0"
        raise InputError(
            expected=f"{name} {reach} and below 1", got=repr(value), hint="Pass 1e-3, for example.",
        )  # fmt: skip
    return value


def check_ratio(name: str, value: float) -> float:
    """Return ``value`` if it is a finite factor above 1."""
    if not is_number(value) or not 1 < value < math.inf:
        raise InputError(
            expected=f"{name} above 1", got=repr(value), hint="Pass math.e, as in the paper, or another factor above 1."
        )
    return value


def check_momentum(value: float, name: str = "momentum") -> float:
    """Return ``value`` if it is at least 0 and below 1."""
    if not is_number(value) or not 0 <= value < 1:
        raise InputError(
            expected=f"{name} of at least 0 and below 1", got=repr(value), hint="Pass 0 for an optimizer without it."
        )
    return value


def check_number(name: str, value: float) -> float:
    """Return ``value`` if it is one finite number."""
    if not is_number(value) or not math.isfinite(value):
        raise InputError(expected=f"{name} as a finite number", got=repr(value), hint="Pass a plain number.")
    return value


def check_kind(name: str, value: Any, kind: type[T], *, hint: str) -> T:
    """Return ``value`` if it is an instance of ``kind``."""
    if not isinstance(value, kind):
        raise InputError(expected=f"{name} of type {kind.__name__}", got=type(value).__name__, hint=hint)
    return value


def check_path(name: str, value: Any) -> Path:
    """Return ``value`` as a path."""
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        raise InputError(
            expected=f"{name} as a path", got=repr(value), hint='Pass a string or a pathlib.Path, such as "runs/mine".'
        )
    return Path(value)


def check_hooked(optimizer: Any) -> torch.optim.Optimizer:
    """Return an optimiser that calls step hooks: of accelerate's wrapper the one within.

    Other wrappers are refused: they do not call hooks, and may take a step in parts, as sharpness-aware ones do.
    """
    while type(optimizer).__name__ == "AcceleratedOptimizer" and type(optimizer).__module__.startswith("accelerate."):
        optimizer = optimizer.optimizer
    check_kind(
        "the optimizer",
        optimizer,
        torch.optim.Optimizer,
        hint="Pass the optimizer itself; a scheduler holds it as scheduler.optimizer.",
    )
    if not hasattr(optimizer, "_optimizer_step_post_hooks"):
        raise InputError(
            expected="an optimizer that calls step hooks",
            got=f"a wrapper, {type(optimizer).__name__}",
            hint="Pass the wrapped optimizer, usually optimizer.optimizer.",
        )
    return optimizer


def check_choice(name: str, value: str, choices: Collection[str]) -> str:
    """Return ``value`` if it is one of ``choices``."""
    if value not in choices:
        raise InputError(
            expected=f"{name} to be one of {', '.join(sorted(choices))}",
            got=repr(value),
            hint="Check the spelling.",
        )
    return value


def check_finite(name: str, value: Tensor, *, hint: str) -> Tensor:
    """Return ``value`` if it contains neither NaN nor infinity."""
    # A sum over a bad entry is never finite, and takes a tenth of the time; a sum can also overflow by itself.
    if not bool(value.detach().sum().isfinite()) and not bool(torch.isfinite(value).all()):
        bad = int((~torch.isfinite(value)).sum())
        raise NonFiniteError(
            expected=f"finite {name}", got=f"{bad} of {value.numel()} entries NaN or infinite", hint=hint
        )
    return value


def check_one_point(name: str, value: Tensor) -> Tensor:
    """Return ``value`` if it has one axis: derivatives are taken at one point."""
    if value.ndim != 1:
        raise InputError(
            expected=f"{name} as one vector [N]",
            got=f"shape {tuple(value.shape)}",
            hint=f"Call it for one row of {name} at a time.",
        )
    return value


@contextlib.contextmanager
def explained(expected: str, hint: str) -> Generator[None]:
    """Turn an error of a user's model, loss or data into one that says what was done; the first one is its cause.

    An error that no other data would avoid, such as a misspelt name, is answered by the line of the code.
    """
    try:
        yield
    except (LandscopeError, Warning, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if isinstance(error, _OF_CODE):
            hint = f"This is an error in the code{_place(error)}, whatever the data are: correct it there."
        raise InputError(expected=expected, got=error_text(error), hint=hint) from error


_OF_CODE = (NameError, ImportError, ZeroDivisionError, SyntaxError)


def _place(error: Exception) -> str:
    """The last line of code outside of torch and landscope that led to an error."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((*_LIBRARIES, "<")):
            return f" at line {frame.lineno} of {Path(frame.filename).name} (`{(frame.line or '').strip()}`)"
    return ""


_LIBRARIES = tuple(str(Path(path).parent) for path in (torch.__file__, __file__))


def check_vector(
    name: str,
    value: Tensor,
    *,
    dim: int | None = None,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    is_finite: bool = False,
) -> Tensor:
    """Return ``value`` on ``device`` and as ``dtype`` if its last axis has length ``dim``, or any by default.

    Its numbers are looked at, for which the host waits for a GPU, unless they are known to be finite. Trajectories and
    modes are stored in main memory, and a landscape is on the device of its model. So points move to the landscape.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise InputError(
            expected=f"{name} as a tensor of a floating-point dtype",
            got=str(value.dtype) if isinstance(value, Tensor) else type(value).__name__,
            hint=f"Convert {name} with torch.as_tensor(...).float().",
        )
    if value.ndim == 0 and dim is None:
        raise InputError(expected=f"{name} with an axis", got="one number", hint=f"Pass {name}[None].")
    if value.ndim == 0 or (dim is not None and value.shape[-1] != dim):
        raise InputError(
            expected=f"{name} with a last axis of {dim} selected parameters",
            got=f"shape {tuple(value.shape)}",
            hint="Use weights of the same model and selection, for example space.flatten(model).",
        )
    if not is_finite:
        check_finite(name, value, hint=f"Check the computation of {name}; landscope does not repair weights.")
    if dtype is None and device is not None and device_with_float64(device) != device and value.dtype == torch.float64:
        dtype = torch.float32
    return value.to(device=device, dtype=dtype)


def check_point(w0: Tensor) -> Tensor:
    """Return ``w0`` if it is one point of finite weights.

    Raises:
        InputError: If it is no tensor of a floating-point dtype with one axis.
        NonFiniteError: If it has NaN or infinity.
    """
    check_one_point("w0", check_kind("w0", w0, Tensor, hint="Pass risk.w0, for example."))
    return check_vector("w0", w0)


def device_with_float64(device: torch.device) -> torch.device:
    """The device for sums in float64: the host where the device itself has no float64, as Apple's MPS."""
    return torch.device("cpu") if device.type == "mps" else device


def for_float64(value: Tensor) -> Tensor:
    """The same tensor where it can be summed in float64: on the host if its own device has no float64."""
    return value.to(device_with_float64(value.device))


def check_trajectory(value: Any) -> Any:
    """Return ``value`` if it is a trajectory: not a tensor, a recorder, or something else."""
    if hasattr(value, "blocks") and hasattr(value, "steps"):
        return value
    if isinstance(value, Tensor):
        hint = "Wrap the rows: Trajectory.of(weights)."
    elif callable(getattr(value, "trajectory", None)):
        hint = "Pass recorder.trajectory()."
    else:
        hint = "Pass recorder.trajectory(), open_trajectory(path) or Trajectory.of(weights)."
    raise InputError(expected="a Trajectory", got=f"an object of type {type(value).__name__}", hint=hint)


def check_landscape(landscape: Any) -> Any:
    """Return a landscape: a function of weights ``w[..., N]``, which a model alone is not."""
    is_model = isinstance(landscape, nn.Module)
    if is_model or not callable(landscape):
        raise InputError(
            expected="a landscape, a function of weights w[..., N]",
            got=f"{'a model,' if is_model else 'an object of type'} {type(landscape).__name__}",
            hint="Pass EmpiricalRisk(model, criterion, data), or any function of a tensor of weights.",
        )
    return landscape


def check_start(w0: Tensor, directions: Tensor, *, same_dtype: bool = True) -> tuple[Tensor, Tensor]:
    """Return ``w0[N]`` and ``directions[k, N]``, both on the device and, if asked for, in the dtype of ``w0``."""
    for name, value, shape in (("w0", w0, "[N]"), ("directions", directions, "[k, N]")):
        if not isinstance(value, Tensor):
            raise InputError(
                expected=f"{name} as a tensor of shape {shape}",
                got=type(value).__name__,
                hint=f"Pass {'principal_modes(trajectory)' if name == 'directions' else 'risk.w0'}, for example.",
            )
    if w0.ndim != 1:
        raise InputError(expected="w0 of shape [N]", got=f"shape {tuple(w0.shape)}", hint="Pass a single point.")
    w0 = check_vector("w0", w0, dim=len(w0))
    dtype = w0.dtype if same_dtype else None
    return w0, check_directions(directions, dim=len(w0), device=w0.device, dtype=dtype)


def check_directions(
    directions: Tensor, *, dim: int | None = None, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Return ``directions[k, N]`` if no row is zero and no two rows are parallel."""
    check_kind(
        "directions", directions, Tensor, hint="Pass a tensor [k, N], or what a function of ls.directions gives."
    )
    if directions.ndim != 2:
        raise InputError(
            expected="directions of shape [k, N]",
            got=f"shape {tuple(directions.shape)}",
            hint="Pass one direction as direction[None].",
        )
    directions = check_vector("directions", directions, dim=dim, device=device, dtype=dtype)
    norms = torch.linalg.vector_norm(directions, dim=1)
    if bool((norms == 0).any()):
        raise InputError(
            expected="directions that are not zero",
            got=f"a zero row at index {int((norms == 0).nonzero()[0])}",
            hint="Remove this direction.",
        )
    pair = _parallel_pair(directions, norms)
    if pair is not None:
        raise InputError(
            expected="directions that are pairwise not parallel",
            got=f"rows {pair[0]} and {pair[1]} along the same line",
            hint="Remove one of the two rows.",
        )
    return directions


def _parallel_pair(directions: Tensor, norms: Tensor) -> tuple[int, int] | None:
    """Find two parallel rows. A few random projections narrow the search, which costs k N operations, not k^2 N."""
    if len(directions) < 2:
        return None
    generator = torch.Generator().manual_seed(0)
    dim = directions.shape[1]
    # Random signs are cheaper than normal numbers for a large N, and still separate two lines almost surely.
    signs = torch.randint(0, 2, (dim, 3), generator=generator).mul_(2).sub_(1).to(directions)
    with full_precision():
        projections = (directions @ signs / norms[:, None]).cpu().double()
    projections *= torch.where(projections[:, :1] < 0, -1.0, 1.0).double()
    tolerance = 64 * torch.finfo(directions.dtype).eps * math.sqrt(dim)
    order = torch.argsort(projections[:, 0])
    for first, second in zip(order[:-1].tolist(), order[1:].tolist(), strict=True):
        if float((projections[first] - projections[second]).abs().max()) > tolerance:
            continue
        with full_precision():
            cosine = directions[first] @ directions[second] / (norms[first] * norms[second])
        if 1 - abs(float(cosine)) <= 8 * torch.finfo(directions.dtype).eps:
            return min(first, second), max(first, second)
    return None
