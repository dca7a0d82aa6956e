"""Replay: samples of earlier tasks, real or drawn, with the answers that the network gave before."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from landscope._checks import check_choice, check_count, check_kind, check_positive, check_strength, generator_of
from landscope.errors import InputError, StorageError
from landscope.memory.class_gaussians import ClassGaussians
from landscope.memory.distillation import answering_outputs, replay_losses
from landscope.memory.evaluations import evaluated_copy
from landscope.memory.labelled import labelled_samples, logits_of
from landscope.memory.stored_samples import Store, StoredSamples
from landscope.storage.digests import digest_of
from landscope.wording import first_lines

__all__ = ["Replay"]

_FORMAT = 1
_HINT = "Pass what replay.state_dict() returned."
_SETTINGS = ("store", "n_samples", "rank", "batch_size", "temperature", "distillation")


class Replay:
    r"""Learns samples of earlier tasks again, with a loss beside that of the new task, in any loop.

    .. math:: L = \frac{L_{new} + K R}{K + 1}, \qquad R = \left\langle -\ln p_y(z)
              + \alpha T^2 \mathrm{KL}\big(p(z_0 / T) \,\|\, p(z / T)\big) \right\rangle

    K is the number of earlier tasks, z the outputs of the network, and z_0 those that it gave at the end of the last
    task (Hinton et al. 2015; Li & Hoiem 2016; the weights are those of van de Ven & Tolias 2018). R is the mean over a
    minibatch of samples that are drawn anew at every call. :meth:`mixed` gives L, in which every task counts alike;
    :meth:`loss` gives R, to add to another loss. The sum of L_new and K R has steps K + 1 times as long as L, and can
    diverge at a learning rate that fits one task.

    What is stored are real samples (``"class"``, ``"task"``, ``"reservoir"``) or a Gaussian of low rank for each class
    (``"gaussians"``): its mean, ``rank`` leading directions with their scales, and the variance of the rest. Gaussians
    suit inputs of low rank, such as digits, and not photographs. No sample is stored then; mind that means are
    averages of people's data all the same.

    Args:
        model: The model in training. Its outputs are one row of logits a sample, or have ``.logits``.
        store: ``"class"``: n samples of every class of each task; ``"task"``: n of each task; ``"reservoir"``: n in
            all, every sample that was seen as likely; ``"gaussians"``.
        n_samples: The number n of real samples.
        rank: Directions of each Gaussian.
        batch_size: Samples that each :meth:`loss` draws.
        temperature: Temperature T of the distillation.
        distillation: Factor alpha of the distillation; at 0 the samples are only learnt again.
        seed: Seed of the choice and of all draws. The random state of torch is not used.

    Raises:
        InputError: If an argument is out of its range.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> model, criterion = torch.nn.Linear(2, 2), torch.nn.CrossEntropyLoss()
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> x = torch.randn(40, 2)
        >>> replay = Replay(model, store="gaussians", rank=1)
        >>> for labels in ((x[:, 0] > 0).long(), (x[:, 1] > 0).long()):
        ...     for _ in range(20):
        ...         optimizer.zero_grad()
        ...         replay.mixed(criterion(model(x), labels)).backward()
        ...         optimizer.step()
        ...     replay.consolidate((x, labels))
        >>> replay.n_tasks
        2
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        store: Store | Literal["gaussians"] = "class",
        n_samples: int = 20,
        rank: int = 10,
        batch_size: int = 50,
        temperature: float = 2.0,
        distillation: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.model = check_kind("the model", model, nn.Module, hint="Pass the model itself.")
        self.store = check_choice("store", store, (*get_args(Store), "gaussians"))
        self.n_samples = check_count("n_samples", n_samples, minimum=1)
        self.rank = check_count("rank", rank, minimum=0)
        self.batch_size = check_count("batch_size", batch_size, minimum=1)
        self.temperature = float(check_positive("temperature", temperature))
        self.distillation = float(check_strength("distillation", distillation))
        self._generator = generator_of(seed)
        self._samples: ClassGaussians | StoredSamples | None = None
        self._outputs: list[tuple[int, ...] | None] = []
        self._classes: list[int] = []
        self._before: nn.Module | None = None

    @property
    def n_tasks(self) -> int:
        """Number of tasks that were consolidated."""
        return len(self._outputs)

    @property
    def n_stored(self) -> int:
        """Number of values stored for earlier tasks: samples or Gaussians, and the network that gives the answers."""
        if self._samples is None or self._before is None:
            return 0
        tensors = (value for value in self._before.state_dict().values() if isinstance(value, Tensor))
        return self._samples.n_stored + sum(tensor.numel() for tensor in tensors)

    def consolidate(self, data: Any, *, outputs: Sequence[int] | None = None) -> None:
        """End a task: store samples of it, and keep a copy of the network for its answers.

        Args:
            data: Training data of the task: a pair of inputs and labels, or batches of them, such as a DataLoader.
            outputs: Outputs of the model that answer for this task, where every task has its own; labels then count
                within them. By default all answer, and the distillation goes over the classes that were learnt.

        Raises:
            InputError: If the data are no inputs with one class each, or do not fit the model or the earlier tasks;
                what was stored is then left unchanged.
        """
        inputs, labels = labelled_samples(data)
        named = _named(outputs, labels)
        before = evaluated_copy(self.model).requires_grad_(False)
        columns = logits_of(before, _on(before, inputs[:2])).shape[1]
        labels = labels if named is None else torch.tensor(named)[labels]
        if (highest := max(int(labels.max()), *(named or (0,)))) >= columns:
            raise InputError(
                expected=f"labels and outputs below the number of outputs, {columns}", got=f"{highest}",
                hint="Pass the labels that the model is trained with, and outputs= where each task has its own.",
            )  # fmt: skip
        self._samples = self._with(inputs, labels)
        self._outputs.append(named)
        self._classes = sorted({*self._classes, *labels.tolist()})
        self._before = before

    def _with(self, inputs: Tensor, labels: Tensor) -> ClassGaussians | StoredSamples:
        """What is stored with the samples of one more task."""
        earlier, task = self._samples, self.n_tasks
        if isinstance(earlier, StoredSamples):
            self._check_same(tuple(earlier.inputs.shape[1:]), earlier.inputs.dtype, inputs)
        elif earlier is not None:
            self._check_same(earlier.shape, earlier.mean.dtype, inputs)
        if self.store == "gaussians":
            if not inputs.is_floating_point():
                raise InputError(
                    expected="floating-point inputs for Gaussians", got=str(inputs.dtype),
                    hint='Store real samples: store="class".',
                )  # fmt: skip
            latest = ClassGaussians.of(inputs, labels, task, self.rank)
            return earlier.joined(latest) if isinstance(earlier, ClassGaussians) else latest
        kind = cast("Store", self.store)  # checked when it was made
        found = StoredSamples.of(inputs, labels, task, kind, self.n_samples, self._generator)
        found = earlier.joined(found) if isinstance(earlier, StoredSamples) else found
        return found.first(self.n_samples) if kind == "reservoir" else found

    @staticmethod
    def _check_same(shape: tuple[int, ...], dtype: torch.dtype, inputs: Tensor) -> None:
        if (tuple(inputs.shape[1:]), inputs.dtype) != (shape, dtype):
            raise InputError(
                expected=f"inputs of shape {shape} and {dtype}, as of the earlier tasks",
                got=f"{tuple(inputs.shape[1:])} and {inputs.dtype}",
                hint="Make a Replay for each kind of input.",
            )

    def loss(self, model: nn.Module | None = None) -> Float[Tensor, ""]:
        """The loss R of a new minibatch of earlier samples, to add to that of the new task; 0 before the first task.

        The model is called in the mode that it has, so batch normalisation in train mode takes its statistics from
        these samples too.

        Args:
            model: The model, if another object is trained than was given, such as its DistributedDataParallel.

        Returns:
            A number with a gradient.

        Raises:
            InputError: If the model now has fewer outputs than before.
        """
        model = self.model if model is None else model
        if self._samples is None or self._before is None:
            return next(model.parameters()).new_zeros(())
        inputs, labels, task = self._samples.draw(self.batch_size, self._generator)
        inputs = _on(model, inputs)
        with torch.no_grad():
            before = logits_of(_follow(self._before, model), inputs)
        logits = logits_of(model, inputs)
        if logits.shape[1] < before.shape[1]:
            raise InputError(
                expected=f"a model with the {before.shape[1]} outputs that it had, or more", got=f"{logits.shape[1]}",
                hint="Add outputs for new classes at the end, and keep the earlier ones.",
            )  # fmt: skip
        answering = answering_outputs(self._outputs, logits.shape[1])[task]
        distilled = answering_outputs(self._outputs, before.shape[1], self._learnt(before.shape[1]))[task]
        losses = replay_losses(
            logits, before, *(part.to(logits.device) for part in (labels, answering, distilled)), self.temperature
        )
        return (losses[0] + self.distillation * losses[1]).mean()

    def mixed(self, loss: Float[Tensor, ""], model: nn.Module | None = None) -> Float[Tensor, ""]:
        """The mean over all tasks, of the loss of the new task and K times that of the samples of the K earlier ones.

        Args:
            loss: Loss of the new task on a minibatch.
            model: The model, as for :meth:`loss`.

        Returns:
            The loss to differentiate in place of the given one, which it is before the first task.

        Raises:
            InputError: If the model now has fewer outputs than before.
        """
        return (loss + self.n_tasks * self.loss(model)) / (self.n_tasks + 1)

    def _learnt(self, columns: int) -> Tensor:
        """Outputs of the classes that were learnt: untrained ones have nothing to keep."""
        learnt = torch.zeros(columns, dtype=torch.bool)
        learnt[self._classes] = True
        return learnt

    def state_dict(self) -> dict[str, Any]:
        """The state for ``torch.save``, from which the same draws follow: it holds the samples and the old network."""
        samples = None if self._samples is None else {"store": self.store, **_fields(self._samples)}
        content = {
            "format": _FORMAT,
            "settings": {name: getattr(self, name) for name in _SETTINGS},
            "outputs": list(self._outputs),
            "classes": list(self._classes),
            "samples": samples,
            "before": None if self._before is None else _copied(self._before.state_dict()),
            "generator": self._generator.get_state(),
        }
        return {**content, "digest": digest_of(content)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state made by :meth:`state_dict`.

        Args:
            state: The mapping, possibly read by ``torch.load``.

        Raises:
            StorageError: If the state is damaged, or of other settings or another model; nothing changes then.
        """
        content = _checked(state, {name: getattr(self, name) for name in _SETTINGS})
        before = None if content["before"] is None else evaluated_copy(self.model).requires_grad_(False)
        try:
            if before is not None:
                before.load_state_dict(content["before"])
        except RuntimeError as error:
            raise StorageError(
                expected="a state of this model", got=first_lines(error, 2),
                hint="Load it into the model that it was made with; outputs are added afterwards.",
            ) from error  # fmt: skip
        generator = torch.Generator()
        generator.set_state(content["generator"].cpu())
        fields = None if content["samples"] is None else _on_cpu(content["samples"])
        kind = ClassGaussians if self.store == "gaussians" else StoredSamples
        self._samples = None if fields is None else kind(**fields)
        self._outputs = [None if named is None else tuple(named) for named in content["outputs"]]
        self._classes, self._before, self._generator = list(content["classes"]), before, generator


def _checked(state: Any, ours: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state, if it is whole and of these settings."""
    if not (
        isinstance(state, Mapping) and state.get("format") == _FORMAT and isinstance(state.get("settings"), Mapping)
    ):
        raise StorageError(expected=f"the state of a Replay, of format {_FORMAT}", got=type(state).__name__, hint=_HINT)
    if different := [name for name in ours if state["settings"].get(name) != ours[name]]:
        raise StorageError(
            expected="; ".join(f"{name} {ours[name]}" for name in different),
            got="; ".join(f"{name} {state['settings'].get(name)}" for name in different),
            hint="Make the Replay with the same settings.",
        )
    if state.get("digest") != digest_of({name: value for name, value in state.items() if name != "digest"}):
        raise StorageError(
            expected="the state of a Replay as it was made", got="a state that was changed since, or is incomplete",
            hint=_HINT,
        )  # fmt: skip
    return state


def _named(outputs: Sequence[int] | None, labels: Tensor) -> tuple[int, ...] | None:
    """The outputs of one task, which its labels count."""
    if outputs is None:
        return None
    named = tuple(check_count("each of outputs", column, minimum=0) for column in outputs)
    if len(set(named)) < len(named) or int(labels.max()) >= len(named):
        raise InputError(
            expected=f"{int(labels.max()) + 1} different outputs or more, which the labels count",
            got=f"outputs {', '.join(map(str, named)) or 'none'}",
            hint="For example outputs=(2, 3) with labels 0 and 1.",
        )  # fmt: skip
    return named


def _fields(samples: ClassGaussians | StoredSamples) -> dict[str, Any]:
    return {field.name: getattr(samples, field.name) for field in dataclasses.fields(samples)}


def _on_cpu(samples: Mapping[str, Any]) -> dict[str, Any]:
    """The stored fields, also where ``torch.load`` put them on another device."""
    fields = {name: value for name, value in samples.items() if name != "store"}
    return {name: value.cpu() if isinstance(value, Tensor) else value for name, value in fields.items()}


def _copied(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.clone() if isinstance(value, Tensor) else value for name, value in state.items()}


def _on(model: nn.Module, inputs: Tensor) -> Tensor:
    return inputs.to(next(model.parameters()).device)


def _follow(before: nn.Module, model: nn.Module) -> nn.Module:
    """The old network on the device of the new one."""
    device = next(model.parameters()).device
    return before if next(before.parameters()).device == device else before.to(device)
