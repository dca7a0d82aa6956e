"""What a network remembers of the tasks it learnt, in anybody's training loop."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from landscope._checks import check_choice, check_count, check_hooked, check_kind, check_strength
from landscope.errors import InputError, NonFiniteError
from landscope.memory.accumulate import combined_penalty, directions_in, held_directions, own_penalty, penalty_by_layer
from landscope.memory.methods import METHODS, MOST_LOOKED_AT
from landscope.memory.snapshot import FinishedTask
from landscope.memory.state import Remembered
from landscope.memory.warnings import (
    Entered,
    Watch,
    warn_of_another_place,
    warn_of_fewer_tasks,
    warn_of_others,
    warn_of_rows,
    warn_of_still,
)
from landscope.parameters import ParameterSpace, Selection
from landscope.penalties.proximal import ProximalSteps, check_optimizer, warn_of_statistics
from landscope.protocols import Penalty
from landscope.recorder import TrajectoryRecorder
from landscope.risk.empirical import EmpiricalRisk
from landscope.trajectory import Trajectory

__all__ = ["TaskMemory"]


class TaskMemory:
    r"""Records a model while it learns a task, and holds it there while it learns the next ones (paper, Eq. 14).

    While it trains, the latest weights are recorded, and each step of the optimiser is followed by the implicit step of
    the penalty V of all earlier tasks. At the end of a task, :meth:`consolidate` finds the principal modes of the
    recorded weights, measures the flatness along them, and adds the penalty of this task to V.

    Args:
        model: The model in training.
        select: Which weights to hold, see :meth:`landscope.ParameterSpace.of`: those that all tasks share.
        method: What holds them: ``"ldc-floor"``, or another name of ``landscope.tasks.METHODS``.
        strength: lambda; the method's own by default.
        n_modes: Directions that each task holds, at most as many as its weights moved along.
        window: How many of the latest rows of a task are looked back on.
        every: Record every so many steps.
        ratio: The loss at the edges of a valley over that at its bottom, where its width is measured. Of a loss that
            cannot rise by e, like that of a language model, nearer to 1: 1.1.
        rank: Directions that all tasks together keep (0: their mean stiffness alone); beyond, those of smallest
            stiffness are given up, so that the memory of many tasks is that of one; Kronecker products become the
            nearest one a layer, whatever the number. All by default.
        per_layer: Take modes of every layer by itself, ``n_modes`` of each; by default those of all weights together.
            A layer's directions are flat only while the others rest, so that the floor is that of the stiffest layer.
        implicit: Take implicit steps; False where you add :meth:`penalty` to the loss yourself.

    Raises:
        InputError: If the selection does not fit, the method is unknown, needs a strength or does not serve these
            layers, or a number makes no sense.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Linear(4, 2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> criterion, x = torch.nn.CrossEntropyLoss(), torch.randn(32, 4)
        >>> memory = TaskMemory(model, n_modes=3)
        >>> for targets in ((x[:, 0] > 0).long(), (x[:, 1] > 0).long()):
        ...     with memory.training(optimizer):
        ...         for _ in range(50):
        ...             batch = torch.randint(32, (8,))
        ...             optimizer.zero_grad()
        ...             criterion(model(x[batch]), targets[batch]).backward()
        ...             optimizer.step()
        ...     _ = memory.consolidate(criterion, (x, targets))
        >>> memory.n_tasks, memory.held.dim
        (2, 10)
    """

    def __init__(
        self,
        model: nn.Module,
        select: Selection | Iterable[Selection] | None = None,
        *,
        method: str = "ldc-floor",
        strength: float | None = None,
        n_modes: int = 100,
        window: int = 500,
        every: int = 1,
        ratio: float = math.e,
        rank: int | None = None,
        per_layer: bool = False,
        implicit: bool = True,
    ) -> None:
        self.model, self.space, self._of_all = model, ParameterSpace.of(model, select), select is None
        self.method = check_choice("method", method, METHODS)
        self.strength = _strength(method, strength)
        self.n_modes = check_count("n_modes", n_modes, minimum=1)
        self.window = check_count("window", window, minimum=3)
        self.every = check_count("every", every, minimum=1)
        if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 1 < ratio < math.inf:
            raise InputError(expected="a ratio above 1", got=f"{ratio!r}", hint="Take e, or 1.1 for a language model.")
        self.ratio = ratio
        self.rank = rank if rank is None else check_count("rank", rank, minimum=0)
        if per_layer and not METHODS[method].measures:
            raise InputError(
                expected="a method that holds modes, layer by layer", got=method, hint="It holds every weight anyway."
            )
        for name, flag in (("per_layer", per_layer), ("implicit", implicit)):
            check_kind(name, flag, bool, hint="Pass True or False.")
        METHODS[method].check(model, self.space)
        self.per_layer, self.implicit, self.n_tasks = per_layer, implicit, 0
        self.held: Penalty | None = None
        """V of all tasks so far; None before the first is consolidated."""
        self.n_held = 0
        """Directions of all weights together that the last task holds; 0 where every layer holds its own."""
        self._rows: Trajectory | None = None
        self._step = 0
        self._under_way: contextlib.ExitStack | None = None
        self._recorder: TrajectoryRecorder | None = None
        self._watch: Watch | None = None

    def training(self, optimizer: torch.optim.Optimizer) -> contextlib.AbstractContextManager[None]:
        """Record, and hold what was learnt, while this optimiser trains the model; for a task, once or in pieces.

        Args:
            optimizer: Of the model; the same as before or another.

        Raises:
            InputError: If it is in use already, the optimiser does not hold the selected weights or has no one
                learning rate for them, or the model's parameters changed name or shape.
            NonFiniteError: If the weights became NaN or infinite.

        Warns:
            UserWarning: If all weights were to be held, and the optimiser moves others, such as layers that were
                frozen when the memory was made; if it is thrown away without having been entered by ``with``, or left
            without a step of this optimiser; if a loss has :meth:`penalty` in it beside implicit steps, or, where those
            are not taken, has not.
        """
        return Entered(self._training(optimizer))

    @contextlib.contextmanager
    def _training(self, optimizer: torch.optim.Optimizer) -> Generator[None]:
        check_hooked(optimizer)
        if self._under_way is not None:
            raise InputError(
                expected="one training at a time", got="another within it", hint="Leave its with block first."
            )
        tensors = self.space.tensors(self.model)  # told now where parameters changed name or shape
        like = tensors[0]
        if self.implicit:
            check_optimizer(self.space, tensors, optimizer)
        if self._of_all:
            warn_of_others(self.model, tensors, optimizer)
        if self.held is not None:
            self.held = self.held.to(like.device, like.dtype)  # once a training: it looks at all directions again
        with contextlib.ExitStack() as stack:
            stack.callback(self._left)
            if self.held is not None and self.implicit:
                stack.enter_context(ProximalSteps(self.held, self.model, optimizer, self.space))
            elif self.held is not None:
                warn_of_statistics(self.model)
            if METHODS[self.method].measures:
                self._recorder = stack.enter_context(self._recording(optimizer))
                stack.push(self._end)
            watch = Watch(optimizer, implicit=self.implicit, holds=self.held is not None)
            self._under_way, self._watch = stack, stack.enter_context(watch)
            yield

    def close(self) -> None:
        """Leave a training that broke off and was never left, as under a Trainer; an ended one is left already.

        Raises:
            NonFiniteError: If the weights became NaN or infinite; it is left all the same.
        """
        if self._under_way is not None:
            self._under_way.close()

    def _recording(self, optimizer: torch.optim.Optimizer) -> TrajectoryRecorder:
        return TrajectoryRecorder(
            self.model, optimizer, self.space, every=self.every, last=self.window, first_step=self._step + 1
        )

    def _left(self) -> None:
        self._under_way = self._watch = None

    def _end(self, kind: type[BaseException] | None, *_: object) -> None:
        """Keep what was recorded; an optimiser that took no step left nothing."""
        try:
            self._rows = self._latest()
        except NonFiniteError:
            with contextlib.suppress(InputError):  # of no step before it went wrong
                self._rows = self._latest()
            if kind is None:  # an error that is already under way comes first
                raise
        finally:
            assert self._recorder is not None  # noqa: S101 - set by training()
            self._step, self._recorder = self._recorder.step, None

    def _latest(self) -> Trajectory | None:
        """The latest rows of the task, those of earlier pieces of its training included."""
        if self._recorder is None or self._recorder.step // self.every == self._step // self.every:
            return self._rows
        new = self._recorder.trajectory()
        return new if self._rows is None else _joined(self._rows, new, self.window)

    def consolidate(self, criterion: Callable[..., Any], data: Any) -> Penalty:
        """End a task: from now on the weights are held where they are.

        Args:
            criterion: Its loss, see :class:`landscope.EmpiricalRisk`.
            data: Its training data, or enough of them to know the loss by: see there.

        Returns:
            V of all tasks so far, which is also ``memory.held``.

        Raises:
            InputError: If nothing was recorded since the last task, the data do not fit, or no flatness is within
                reach; the memory is as it was then.

        Warns:
            UserWarning: If far fewer steps were recorded than directions are to be held, the weights are not where
                the recording ended, or some were held by default that never moved.
        """
        self._check_ended()
        return self.consolidate_at(EmpiricalRisk(self.model, criterion, data, space=self.space))

    def consolidate_at(self, risk: EmpiricalRisk) -> Penalty:
        """The same for a risk that was made already, for example by ``EmpiricalRisk.from_closure``.

        Args:
            risk: Of the task, at the weights at its end, on the selected weights.

        Returns:
            V of all tasks so far.

        Raises:
            InputError: If nothing was recorded since the last task, or the risk is on other weights.
        """
        self._check_ended()
        if risk.space != self.space:
            raise InputError(
                expected=f"a risk on {', '.join(self.space.names)}", got=f"one on {', '.join(risk.space.names)}",
                hint="Make it with space=memory.space.",
            )  # fmt: skip
        window = Trajectory.of(risk.w0[None].cpu()) if self._rows is None else self._rows
        if METHODS[self.method].measures and 2 * len(window) < min(self.n_modes, self.space.dim):
            warn_of_rows(len(window), self.n_modes)
        if self._of_all and self.n_tasks == 0 and self._rows is not None:
            warn_of_still(self._rows, self.space)
        warn_of_another_place(window, risk.w0)
        finished = FinishedTask(risk, window, MOST_LOOKED_AT * self.n_modes, seed=self.n_tasks, ratio=self.ratio)
        make = penalty_by_layer if self.per_layer else own_penalty
        own = make(finished, self.method, self.strength, self.n_modes)
        asked = 0 if self.per_layer else held_directions(finished, self.method, self.n_modes)
        n_held = directions_in(own, asked)
        self.held = combined_penalty(self.held, own, self.rank)
        self.n_tasks, self.n_held, self._rows = self.n_tasks + 1, n_held, None
        return self.held

    @property
    def n_stored(self) -> int:
        """Numbers that are kept of earlier tasks."""
        return 0 if self.held is None else self.held.n_stored

    def penalty(self) -> Tensor:
        """V at the weights of the moment, to be added to a loss; zero before the first task is consolidated.

        Stiff directions make plain descent diverge where the learning rate times twice their stiffness exceeds 2; the
        implicit steps, taken by default, do not. Use one of both: ``TaskMemory(..., implicit=False)`` with this.
        """
        tensors = self.space.tensors(self.model)
        w = torch.cat([tensor.reshape(-1) for tensor in tensors])
        if self.held is None:
            return w.new_zeros(())
        value = self.held(w)
        if value.requires_grad and self._watch is not None:
            value.register_hook(self._watch.penalty_added)
        return value

    def state_dict(self) -> dict[str, Any]:
        """All that must be kept to go on after a stop, also in the middle of a task: for ``torch.save``."""
        step = self._step if self._recorder is None else self._recorder.step
        return Remembered(self.n_tasks, self.n_held, step, self._latest(), self.held).mapping(self._settings())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave.

        Args:
            state: The mapping, as it came or read by ``torch.load``.

        Raises:
            InputError: If a training is under way.
            StorageError: If it is no such state, or of a memory of other weights or settings; nothing is taken over.

        Warns:
            UserWarning: If the memory has consolidated more tasks than the state.
        """
        if self._under_way is not None:
            raise InputError(
                expected="a memory at rest", got="one in a training", hint="Load before `with memory.training(...)`."
            )
        found = Remembered.read(state, self._settings(), self.space)
        if found.n_tasks < self.n_tasks:
            warn_of_fewer_tasks(found.n_tasks, self.n_tasks)
        self.held, self._rows = found.held, found.rows
        self.n_tasks, self.n_held, self._step = found.n_tasks, found.n_held, found.step

    def _settings(self) -> dict[str, Any]:
        names = ("method", "strength", "n_modes", "window", "every", "ratio", "rank", "per_layer")
        shapes = [list(shape) for shape in self.space.shapes]
        return {name: getattr(self, name) for name in names} | {"parameters": list(self.space.names), "shapes": shapes}

    def _check_ended(self) -> None:
        """Raise unless a task was learnt that can be looked back on."""
        self.space.tensors(self.model)
        if self._under_way is not None:
            raise InputError(
                expected="a training that has ended", got="one under way",
                hint="Consolidate after the `with memory.training(...)` block; after a Trainer that broke off, call "
                "close() of its callback, or of the memory, first.",
            )  # fmt: skip
        if METHODS[self.method].measures and self._rows is None:
            raise InputError(
                expected="weights recorded since the last task", got="none",
                hint="Train inside `with memory.training(optimizer):` before consolidating.",
            )  # fmt: skip


def _strength(method: str, strength: float | None) -> float:
    known = METHODS[method].default if strength is None else strength
    if known is None:
        raise InputError(
            expected=f"a strength for {method}", got="none", hint="It has none of its own: pass strength=."
        )
    return float(check_strength("strength", known))


def _joined(first: Trajectory, second: Trajectory, last: int) -> Trajectory:
    """The last rows of both, one after the other."""

    def latest(name: str) -> Tensor:
        return torch.cat([getattr(first, name), getattr(second, name)])[-last:].clone()  # no view of all of them

    return Trajectory.of(
        latest("weights"), steps=latest("steps"), learning_rate=latest("learning_rate"), loss=latest("loss"),
        space=second.space,
    )  # fmt: skip
