"""A network with frozen layers: those before the first free layer are evaluated once."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from landscope.parameters import ParameterSpace, Selection
from landscope.reproduction.sequential.task_data import Task
from landscope.risk.tracing import SplitModel, split_model

__all__ = ["FrozenPrefix"]

_SAMPLES_PER_CALL = 4096


class FrozenPrefix:
    """Splits a network at its first free layer: the frozen layers before it are evaluated once on all data.

    Batch normalisation without free parameters is frozen too: it keeps its statistics during training as well. If the
    network cannot be split by tracing, or the two parts differ from the whole, ``part`` is the whole network.

    Args:
        model: The network; all parameters that are not selected are frozen from now on.
        select: The free parameters.
        probe: Some inputs, on which the two parts are compared with the whole.
    """

    def __init__(self, model: nn.Module, select: Selection | Iterable[Selection] | None, probe: Tensor) -> None:
        space = ParameterSpace.of(model, select)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in space.names)
        self._prefix: nn.Module | None = None
        self.part = model
        split = _split(model.eval(), space, probe)
        if split is not None:
            self._prefix, self.part = split.prefix, split.suffix
        _keep_statistics(self.part)

    @torch.no_grad()
    def features(self, inputs: Tensor) -> Tensor:
        """Inputs of the free part; the given inputs where nothing before it is frozen."""
        if self._prefix is None:
            return inputs
        self._prefix.eval()
        return torch.cat([self._prefix(some)[0] for some in inputs.split(_SAMPLES_PER_CALL)])

    def task(self, task: Task) -> Task:
        """The same task with the inputs of the free part."""
        return task.with_inputs(self.features(task.train[0]), self.features(task.test[0]))


def _split(model: nn.Module, space: ParameterSpace, probe: Tensor) -> SplitModel | None:
    """The model split before its first free layer; None if the two parts differ from the model in any mode."""
    statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        split = split_model(model, space.names)
        if split.prefix_is_empty or len(split.tail_inputs) + len(split.affine) != 1:
            return None
        for part in (model, split.prefix, split.suffix):
            _keep_statistics(part)
        for training in (False, True):
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                whole = model.train(training)(probe)
                torch.manual_seed(0)
                split.prefix.train(training)
                split.suffix.train(training)
                torch.testing.assert_close(split.suffix(*split.prefix(probe)), whole)
    except Exception:  # noqa: BLE001 - a network may fail to trace in any way; the whole network serves too
        return None
    finally:
        model.eval()
        for name, buffer in model.named_buffers():
            buffer.copy_(statistics[name])
    return split


def _keep_statistics(part: nn.Module) -> None:
    """Keep batch normalisation without free parameters in eval mode, whatever the mode of the part."""
    frozen = [
        module
        for module in part.modules()
        if isinstance(module, _BatchNorm) and not any(p.requires_grad for p in module.parameters())
    ]

    def keep(*_: object) -> None:
        for module in frozen:
            module.eval()

    if frozen:
        part.register_forward_pre_hook(keep)
