"""What a user would otherwise take: other packages, each on its own copy of the model."""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.metadata
import importlib.util
import io
import sys
import types
from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["landscaper_line", "loss_landscapes_line", "loss_landscapes_plane", "rebasin_alignment", "versions"]


def versions() -> dict[str, str]:
    """Versions of the peers, where they are installed (``make bench`` installs them)."""
    found = {}
    for name in ("loss-landscapes", "landscaper", "rebasin"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def loss_landscapes_line(
    model: nn.Module, data: tuple[Tensor, Tensor], layer: str, direction: Tensor, points: int
) -> Callable[[], object]:
    """Losses at points of a line, by loss-landscapes."""
    import loss_landscapes
    from loss_landscapes.metrics.sl_metrics import Loss

    start, end = copy.deepcopy(model), copy.deepcopy(model)
    with torch.no_grad():
        parameter = dict(end.named_parameters())[layer]
        parameter += 0.5 * direction.view_as(parameter)
    metric = Loss(nn.functional.cross_entropy, *data)
    return lambda: loss_landscapes.linear_interpolation(start, end, metric, steps=points, deepcopy_model=True)


def loss_landscapes_plane(
    model: nn.Module, loss: Callable[[nn.Module], float], ends: list[dict[str, Tensor]], points: int
) -> Callable[[], object]:
    """Losses at ``points`` times ``points`` points of the plane through a model and two others, by loss-landscapes."""
    import loss_landscapes
    from loss_landscapes.metrics.metric import Metric

    class Loss(Metric):
        def __call__(self, model_wrapper: object) -> float:
            return loss(model_wrapper.modules[0])

    models = [copy.deepcopy(model) for _ in range(3)]
    for other, weights in zip(models[1:], ends, strict=True):
        other.load_state_dict(weights, strict=False)
    return lambda: loss_landscapes.planar_interpolation(*models, Loss(), steps=points, deepcopy_model=True)


def rebasin_alignment(model: nn.Module, reference: nn.Module, inputs: Tensor) -> Callable[[], nn.Module]:
    """A copy of a model with its units in the order of a reference, by rebasin."""
    from rebasin import PermutationCoordinateDescent

    def align() -> nn.Module:
        own = copy.deepcopy(model)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            PermutationCoordinateDescent(copy.deepcopy(reference), own, inputs).rebasin()
        return own

    return align


def landscaper_line(
    model: nn.Module, data: tuple[Tensor, Tensor], layer: str, direction: Tensor, points: int
) -> Callable[[], object]:
    """Losses at points of a line, by landscaper, from its module alone: its plots pin an older numpy."""
    if "landscaper" not in sys.modules:
        spec = importlib.util.find_spec("landscaper")
        assert spec is not None
        assert spec.submodule_search_locations
        package = types.ModuleType("landscaper")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["landscaper"] = package
    compute = importlib.import_module("landscaper.compute")
    own = copy.deepcopy(model)
    along = [
        direction.view_as(parameter) if name == layer else torch.zeros_like(parameter)
        for name, parameter in own.named_parameters()
    ]

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> float:
        return float(nn.functional.cross_entropy(model(batch[0]), batch[1]))

    def walk() -> None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            compute.compute_loss_landscape(
                own, data, [along], loss, steps=points, distance=0.5, dim=1, device=str(data[0].device)
            )

    return walk
