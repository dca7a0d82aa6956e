"""The base of every result: a frozen record of tensors with named axes and a stamp of where it came from."""

from __future__ import annotations

import dataclasses
import datetime
import html
import importlib
import json
import platform
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from landscope._version import __version__
from landscope.shown import in_lines, shown

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import xarray

__all__ = ["Result", "described", "register_picture", "result_kinds", "stamp"]

_KINDS: dict[str, type[Result]] = {}
_PICTURES: dict[str, Callable[[Any], go.Figure]] = {}


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
    """What a stamp says of a landscape: what it says of itself, or its type.

    Args:
        landscape: Any loss on R^N.

    Returns:
        Its ``provenance`` as a dictionary, or the name of its type if it has none.

    Example:
        >>> described(lambda w: w.square().sum(-1))
        'function'
    """
    provenance = getattr(landscape, "provenance", None)
    return type(landscape).__name__ if provenance is None else dict(provenance)


def result_kinds() -> Mapping[str, type[Result]]:
    """All registered kinds of result, by the name they carry on disk.

    Returns:
        The class of each kind; a kind is registered when its module is imported.

    Example:
        >>> from landscope.landscape import Flatness
        >>> result_kinds()["flatness"] is Flatness
        True
    """
    return dict(_KINDS)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """A frozen record: tensors with named axes, plain numbers and texts, and a provenance stamp.

    A subclass is registered by its ``kind`` for :func:`landscope.save`. It names the ``axis`` that all its tensors
    have, the axes of single tensors in ``dims``, or both.

    Args:
        provenance: Origin of the result, see :func:`stamp`.

    Example:
        >>> import landscope as ls, torch
        >>> law = ls.law.fit_power_law(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 4.0, 16.0]))
        >>> law.kind, round(law.exponent, 6)
        ('power_law', 2.0)

        A result shows its numbers, and a large tensor by its range:

        >>> ls.directions.random(100, 2, seed=0).part(slice(1))
        Directions
          name: random directions
          directions: [1, 100], -0.3... to 0.1...
          values: not known
          residuals: not known
          mean: [100], 0 to 0
          total: not known
          n_steps: 0
          parameters: ()
    """

    kind: ClassVar[str]
    dims: ClassVar[Mapping[str, tuple[str, ...]]]

    provenance: Mapping[str, Any] = dataclasses.field(default_factory=stamp)

    def __init_subclass__(
        cls, *, kind: str, axis: str | None = None, dims: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        super().__init_subclass__()
        tensors = [name for name, annotation in cls.__annotations__.items() if "Tensor" in str(annotation)]
        cls.kind, cls.dims = kind, {**(dict.fromkeys(tensors, (axis,)) if axis else {}), **(dims or {})}
        _KINDS[kind] = cls

    def tensors(self) -> dict[str, Tensor]:
        """The tensor fields, by name; the axes of each are those of :meth:`dims_of`."""
        return {name: value for name, value in self._items() if isinstance(value, Tensor)}

    def dims_of(self, name: str) -> tuple[str, ...]:
        """Names of the axes of the tensor field ``name``."""
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
            fields are its attributes. Those that are neither numbers nor texts are JSON texts, as netCDF and Zarr
            have no others: ``json.loads(data.attrs["provenance"])``.

        Example:
            >>> import json, landscope as ls
            >>> law = ls.law.fit_power_law(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 4.0, 16.0]))
            >>> data = law.to_xarray()
            >>> round(data.attrs["exponent"], 6), json.loads(data.attrs["provenance"])["landscope"] == ls.__version__
            (2.0, True)
        """
        import xarray

        variables = {
            name: (self.dims_of(name), tensor.detach().cpu().numpy()) for name, tensor in self.tensors().items()
        }
        return xarray.Dataset(variables, attrs={"kind": self.kind, **self._plain_attributes()})

    def _plain_attributes(self) -> dict[str, str | int | float]:
        """The fields that are no tensors, as files of xarray can hold them."""
        return {
            name: value if isinstance(value, str | float) or type(value) is int else json.dumps(value, default=str)
            for name, value in self.attributes().items()
        }

    def plot(self) -> go.Figure:
        """The natural picture of this result; where its kind has none, its tensors one by one.

        Returns:
            A plotly figure.
        """
        plots = importlib.import_module("landscope.plots")  # fills the registry; results imports nothing above itself
        return _PICTURES.get(self.kind, plots.fields)(self)

    def _shown(self) -> list[tuple[str, str]]:
        return [(name, shown(value)) for name, value in self._items() if name != "provenance"]

    def __repr__(self) -> str:
        return in_lines(type(self).__name__, **dict(self._shown()))

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in self._shown()
        )
        return f"<table><caption>{html.escape(type(self).__name__)}</caption>{rows}</table>"


def register_picture(kind: str, draw: Callable[[Any], go.Figure]) -> None:
    """Name the function that draws a kind of result: what ``result.plot()`` calls. The last one registered counts.

    Args:
        kind: The kind, as on disk.
        draw: ``draw(result)`` gives a plotly figure.

    Example:
        >>> from landscope import plots
        >>> register_picture("spectral_density", plots.spectral_density)  # which it is already
    """
    _PICTURES[kind] = draw
