"""The base of every result: a frozen record of tensors with named axes and a stamp of where it came from."""

from __future__ import annotations

import dataclasses
import datetime
import platform
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from landscope._version import __version__

if TYPE_CHECKING:
    import xarray

__all__ = ["Result", "described", "result_kinds", "stamp"]

_KINDS: dict[str, type[Result]] = {}


def stamp(**settings: object) -> dict[str, Any]:
    """Say what made a result: versions, time, and the settings of the call.

    Args:
        **settings: What the call was asked for; anything JSON can hold.

    Returns:
        A mapping that JSON can hold.

    Example:
        >>> stamp(ratio=2.0)["settings"]
        {'ratio': 2.0}
    """
    return {
        "landscope": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "settings": settings,
    }


def described(landscape: object) -> Any:
    """What a stamp says of a landscape: what it says of itself, or its type."""
    return getattr(landscape, "provenance", None) or type(landscape).__name__


def result_kinds() -> Mapping[str, type[Result]]:
    """All registered kinds of result, by the name they carry on disk."""
    return dict(_KINDS)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """A frozen record: tensors with named axes, plain numbers and texts, and a provenance stamp.

    A subclass names its kind and its axes when it is defined, and is registered for
    :func:`landscope.save` by that kind.

    Args:
        provenance: Where the result came from, see :func:`stamp`.

    Example:
        >>> import landscope as ls, torch
        >>> law = ls.law.fit_power_law(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 4.0, 16.0]))
        >>> law.kind, round(law.exponent, 6)
        ('power_law', 2.0)
    """

    kind: ClassVar[str]
    dims: ClassVar[Mapping[str, tuple[str, ...]]]

    provenance: Mapping[str, Any] = dataclasses.field(default_factory=stamp)

    def __init_subclass__(cls, *, kind: str, dims: Mapping[str, tuple[str, ...]] | None = None) -> None:
        super().__init_subclass__()
        cls.kind, cls.dims = kind, dict(dims or {})
        _KINDS[kind] = cls

    def tensors(self) -> dict[str, Tensor]:
        """The tensor fields, by name."""
        return {name: value for name, value in self._items() if isinstance(value, Tensor)}

    def dims_of(self, name: str) -> tuple[str, ...]:
        """Names of the axes of a tensor field."""
        named = self.dims.get(name)
        return named or tuple(f"{name}_{axis}" for axis in range(getattr(self, name).ndim))

    def attributes(self) -> dict[str, Any]:
        """The fields that are no tensors, by name."""
        return {name: value for name, value in self._items() if not isinstance(value, Tensor)}

    def _items(self) -> list[tuple[str, Any]]:
        return [(field.name, getattr(self, field.name)) for field in dataclasses.fields(self)]

    def to_xarray(self) -> xarray.Dataset:
        """The same record as a labelled data set.

        Returns:
            A data set with one variable a tensor field, along the axes named in ``dims``; the other
            fields are its attributes.
        """
        import xarray

        variables = {
            name: (self.dims_of(name), tensor.detach().cpu().numpy()) for name, tensor in self.tensors().items()
        }
        return xarray.Dataset(variables, attrs={"kind": self.kind, **self.attributes()})

    def __repr__(self) -> str:
        parts = [
            f"{name}={tuple(value.shape)}" if isinstance(value, Tensor) else f"{name}={value!r}"
            for name, value in self._items()
            if name != "provenance"
        ]
        return f"{type(self).__name__}({', '.join(parts)})"
