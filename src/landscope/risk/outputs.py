"""The outputs of a model that its loss is computed from, for every kind of risk and every structure of outputs."""

from __future__ import annotations

import abc
import contextlib
import copy
import dataclasses
from collections.abc import Callable, Generator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from landscope.errors import InputError
from landscope.risk.closure_module import ClosureModule
from landscope.risk.data import call_model
from landscope.risk.evaluation import BlockLosses, BlockOutputs
from landscope.risk.graphs import ASKS
from landscope.risk.sample_axes import SampleAxes
from landscope.risk.samples import count_of, rows_of
from landscope.risk.whole_losses import ClosureLosses

__all__ = ["ClosureOutputs", "CriterionOutputs", "OutputSource", "Outputs", "WholeOutputs", "output_source"]


@dataclasses.dataclass(frozen=True)
class Outputs:
    """The outputs of a model for some samples, as tensors and as what the model returned.

    Args:
        leaves: All parts of what the model returned.
        used: Positions of the tensors that the loss is computed from.
        rebuild: Makes what the model returned from all its parts.
    """

    leaves: Sequence[Any]
    used: Sequence[int]
    rebuild: Callable[[list[Any]], Any]

    @classmethod
    def of(cls, value: Any, used: Sequence[int] | None = None) -> Outputs:
        """The parts of an output: a tensor, a container of tensors, or an object with logits."""
        leaves, spec = tree_flatten(value)
        if not any(map(_is_real, leaves)) and isinstance(getattr(value, "logits", None), Tensor):
            leaves, rebuild = [value.logits], lambda parts: _with_logits(value, parts[0])
        else:
            rebuild = lambda parts: tree_unflatten(parts, spec)  # noqa: E731
        real = [place for place, leaf in enumerate(leaves) if _is_real(leaf)]
        return cls(leaves, real if used is None else used, rebuild)

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors that the loss is computed from."""
        return [self.leaves[place] for place in self.used]

    def value(self, tensors: Sequence[Tensor] | None = None) -> Any:
        """What the model returned, with other tensors in place of its own."""
        parts = list(self.leaves)
        for place, tensor in zip(self.used, self.tensors if tensors is None else tensors, strict=True):
            parts[place] = tensor
        return self.rebuild(parts)

    def detached(self) -> Outputs:
        """The same values without their graph."""
        leaves = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in self.leaves]
        return dataclasses.replace(self, leaves=leaves)


def _known(count: int | None) -> list[int]:
    return [] if count is None else [count]


def _is_real(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def _with_logits(value: Any, logits: Tensor) -> Any:
    other = copy.copy(value)
    other.logits = logits
    return other


class OutputSource(abc.ABC):
    """The outputs of a model for each block of data, and the losses that follow from them."""

    def __init__(self, blocks: BlockLosses) -> None:
        self.n_blocks, self._losses = blocks.n_blocks, blocks
        self.samples: dict[int, SampleAxes | None] = {}
        self._used: Sequence[int] | None = None
        self._prepared: set[int] = set()

    @abc.abstractmethod
    def value(self, parameters: dict[str, Tensor], block: int) -> Any:
        """``parameters, block -> outputs`` of the model."""

    @abc.abstractmethod
    def losses(self, outputs: Outputs, tensors: Sequence[Tensor], block: int) -> tuple[Tensor, Tensor | float]:
        """The losses and their weight, from other tensors in place of those of the outputs."""

    @abc.abstractmethod
    def targets(self, block: int) -> Any:
        """The targets of a block; None where they are not known apart from the loss."""

    @abc.abstractmethod
    def some(self, parameters: dict[str, Tensor], block: int, n: int, places: Tensor) -> list[Tensor]:
        """The tensors that the loss is computed from, for some of the n samples of a block as a batch of their own."""

    def count(self, block: int) -> int | None:
        """Number of samples in a block; None where the data do not say it."""
        return self._losses.count(block)

    def counts(self, block: int) -> list[int]:
        """Numbers of samples that a block may have, by its targets and by its inputs."""
        return _known(self.count(block))

    @property
    def largest_block(self) -> int:
        """A block with the most samples."""
        return max(range(self.n_blocks), key=lambda block: self.count(block) or 0)

    def prepare(self, parameters: dict[str, Tensor], block: int) -> None:
        """Do what calls the model more than once: find the tensors of the loss, and store results of first layers.

        Whoever watches the calls of layers prepares the block before, so that each call is seen once and has a graph.
        """
        if block not in self._prepared:
            with torch.no_grad():
                self.outputs(parameters, block)
            self._prepared.add(block)

    def outputs(self, parameters: dict[str, Tensor], block: int) -> Outputs:
        """The outputs for a block of data, with those tensors known that the loss is computed from."""
        if self._used is None:
            with _explained():
                value = self.value(parameters, block)
                self._used = self._tensors_of_loss(Outputs.of(value), block)
        else:
            value = self.value(parameters, block)
        return Outputs.of(value, self._used)

    def _tensors_of_loss(self, outputs: Outputs, block: int) -> Sequence[int]:
        tensors = [tensor.detach().clone().requires_grad_() for tensor in outputs.tensors]
        with torch.enable_grad():
            loss = self.losses(outputs, tensors, block)[0].sum()
            slopes = torch.autograd.grad(loss, tensors, allow_unused=True) if loss.requires_grad else []
        used = [place for place, slope in zip(outputs.used, slopes, strict=False) if slope is not None]
        if not used or any(outputs.leaves[place].ndim == 0 for place in used):
            raise InputError(
                expected="a loss that is computed from what the model returns for each sample",
                got="a loss computed inside the model" if used else "a loss that uses no tensor of the outputs",
                hint="For model(**batch).loss leave out both criterion and losses, as in ls.keep(model, data=batches). "
                "Otherwise compute the loss of each sample from the logits, with a criterion or in the function of "
                "from_closure or losses=, which must call the model that it is given.",
            )
        return used


class CriterionOutputs(OutputSource):
    """The outputs of a model whose loss is a criterion of them.

    Args:
        blocks: Data, model and criterion.
    """

    def __init__(self, blocks: BlockOutputs) -> None:
        super().__init__(blocks)
        self.blocks = blocks

    def value(self, parameters: dict[str, Tensor], block: int) -> Any:
        """The outputs of the model."""
        return self.blocks.outputs(parameters, self.blocks.arguments(block))

    def losses(self, outputs: Outputs, tensors: Sequence[Tensor], block: int) -> tuple[Tensor, Tensor | float]:
        """The losses by the criterion."""
        return self.blocks.losses_of(outputs.value(tensors), block)

    def targets(self, block: int) -> Any:
        """The targets of the data."""
        return self.blocks.blocks[block][1]

    def counts(self, block: int) -> list[int]:
        """Numbers of samples by the targets and by the inputs."""
        return list(dict.fromkeys([*super().counts(block), *_known(count_of(self.blocks.blocks[block][0]))]))

    def some(self, parameters: dict[str, Tensor], block: int, n: int, places: Tensor) -> list[Tensor]:
        """The tensors for some samples, from their inputs."""
        return self.tensors(parameters, self.some_arguments(block, n, places))

    def some_arguments(self, block: int, n: int, places: Tensor) -> tuple[Any, ...]:
        """The arguments of the model for some samples."""
        inputs = self.blocks.blocks[block][0]
        return self.blocks.arguments_of(rows_of(inputs, n, places))

    def tensors(self, parameters: dict[str, Tensor], arguments: tuple[Any, ...]) -> list[Tensor]:
        """The tensors that the loss is computed from, for any samples."""
        return Outputs.of(self.blocks.outputs(parameters, arguments), self._used).tensors


class WholeOutputs(CriterionOutputs):
    """The same by the whole model, whose layers are called as modules, in place of its traced part.

    Args:
        blocks: Data, model and criterion.
        model: The model.
    """

    def __init__(self, blocks: BlockOutputs, model: nn.Module) -> None:
        super().__init__(blocks)
        self._call = ClosureModule(model, call_model)

    def value(self, parameters: dict[str, Tensor], block: int) -> Any:
        """The outputs of the whole model."""
        return self._call.with_parameters(parameters, copy.deepcopy(self.blocks.blocks[block][0]))


class ClosureOutputs(OutputSource):
    """What a model returned inside a function of the model and a batch.

    Args:
        blocks: Data, model and function.
    """

    def __init__(self, blocks: ClosureLosses) -> None:
        super().__init__(blocks)
        self._blocks, self._model = blocks, blocks.model
        self._parameters: dict[str, Tensor] = {}

    def value(self, parameters: dict[str, Tensor], block: int) -> Any:
        """What the model returned at each call."""
        self._blocks.check_forward_mode(parameters)  # before its calls are noted
        calls: list[Any] = []
        with _hooked(self._model, lambda _module, _inputs, output: calls.append(output)):
            self._blocks.losses(parameters, block)
        self._parameters = {name: tensor.detach() for name, tensor in parameters.items()}
        return calls

    def losses(self, outputs: Outputs, tensors: Sequence[Tensor], block: int) -> tuple[Tensor, Tensor | float]:
        """The losses of the function, when the model returns these tensors."""
        values = iter(outputs.value(tensors))
        with _hooked(self._model, lambda _module, _inputs, _output: next(values)):
            return self._blocks.losses(self._parameters, block)

    def targets(self, block: int) -> Any:  # noqa: ARG002 - the function alone knows them
        """Nothing: the function alone knows the targets."""
        return None

    def some(self, parameters: dict[str, Tensor], block: int, n: int, places: Tensor) -> list[Tensor]:
        """What the model returned at each call for a part of a batch."""
        calls: list[Any] = []
        part = rows_of(self._blocks.blocks[block], n, places)
        with _hooked(self._model, lambda _module, _inputs, output: calls.append(output)):
            self._blocks.evaluated(parameters, part, block)
        return Outputs.of(calls, self._used).tensors


@contextlib.contextmanager
def _explained() -> Generator[None]:
    """Say in plain words that a loss which takes derivatives itself does not follow from the outputs."""
    try:
        yield
    except RuntimeError as error:
        if not any(words in str(error) for words in (*ASKS, "not have been used in the graph")):
            raise
        raise InputError(
            expected="a loss that follows from the outputs of the model alone",
            got="a model or a loss that takes derivatives by its inputs",
            hint='Use a method that needs only the loss, "ldc" or "l2".',
        ) from error


@contextlib.contextmanager
def _hooked(model: nn.Module, hook: Callable[..., Any]) -> Generator[None]:
    handle = model.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def output_source(blocks: BlockLosses, whole: nn.Module | None = None) -> OutputSource:
    """The outputs of the model of a risk.

    Args:
        blocks: Data and model.
        whole: The model, where its layers are to be called as modules.

    Raises:
        InputError: If the outputs are not known apart from the losses.
    """
    if isinstance(blocks, BlockOutputs):
        return CriterionOutputs(blocks) if whole is None else WholeOutputs(blocks, whole)
    if isinstance(blocks, ClosureLosses):
        return ClosureOutputs(blocks)
    raise InputError(
        expected="a risk whose outputs are known", got="one with re-estimated statistics",
        hint='Leave batch_norm at "kept".',
    )  # fmt: skip
