"""Recording, and holding tasks, under the Lightning Trainer."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from landscope.adapters.holding import Holding
from landscope.adapters.recording import Recording
from landscope.errors import InputError, LandscopeError
from landscope.parameters import ParameterSpace
from landscope.recorder import TrajectoryRecorder

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise ImportError(f"Expected lightning; got: {error}. Install landscope[lightning].") from error

__all__ = ["RecorderCallback", "TaskMemoryCallback"]

_STEPS_TAKEN = "landscope_optimizer_steps"


class RecorderCallback(Recording, Callback):
    """Records the weights of a ``lightning.Trainer``, one row after each step of an optimiser.

    Parameter names are those of the ``LightningModule``. Of several optimisers, the one that holds the selected
    parameters is followed. A row is one step that it took: gradient accumulation counts once, and a step that
    mixed precision skipped or another optimiser took does not count, so row numbers can lag behind
    ``trainer.global_step``. In a distributed run only the main process records. Sharded parameters cannot be recorded.

    A training resumed from a checkpoint goes on with the numbers of that checkpoint; a ``path`` keeps its rows up to
    there. Without a path each ``fit`` starts anew in memory.

    Args:
        select: Which parameters, see :meth:`landscope.ParameterSpace.of`.
        path: Folder for the trajectory; in memory by default.
        every: Record every so many steps.

    Raises:
        InputError: If ``every`` is no positive number; when training begins, if the selection does not fit the model,
            or lies in none or several of its optimisers.
        StorageError: When training begins, if ``path`` exists (and no checkpoint is resumed) or cannot be written.
        NonFiniteError: While recording or when training ends, if a weight became NaN or infinite.

    Example:
        >>> import lightning, torch, warnings
        >>> warnings.filterwarnings("ignore", module="lightning")  # of its own parts, under a newer torch
        >>> class Line(lightning.LightningModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer = torch.nn.Linear(2, 1)
        ...     def training_step(self, batch, batch_idx):
        ...         return self.layer(batch).square().mean()
        ...     def configure_optimizers(self):
        ...         return torch.optim.SGD(self.parameters(), lr=0.1)
        >>> recorder = RecorderCallback(select="layer.weight")
        >>> trainer = lightning.Trainer(max_steps=3, accelerator="cpu", barebones=True, callbacks=[recorder])
        >>> trainer.fit(Line(), torch.utils.data.DataLoader(torch.ones(6, 2), batch_size=2))
        >>> recorder.space.names, recorder.trajectory().weights.shape
        (('layer.weight',), torch.Size([3, 2]))
    """

    _begin = "fit()"
    _steps_taken: int | None = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002 - Lightning's signature
        """Let the checkpoint keep the number of steps taken; called by Lightning."""
        if self._recorder is not None:
            checkpoint.setdefault(_STEPS_TAKEN, {})[repr(self._select)] = self._recorder.step

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Take over the number of steps taken before a training is resumed; called by Lightning."""
        kept = checkpoint.get(_STEPS_TAKEN, {})
        self._steps_taken = kept.get(repr(self._select), checkpoint["global_step"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to record; called by Lightning."""
        self._recorder = None
        if not trainer.is_global_zero:
            return
        steps_taken = trainer.global_step if self._steps_taken is None else self._steps_taken
        self._recorder = TrajectoryRecorder(
            pl_module,
            _holder(trainer.optimizers, ParameterSpace.of(pl_module, self._select), pl_module),
            self._select,
            path=self._path,
            every=self._every,
            first_step=1 if trainer.global_step == 0 else steps_taken + 1,
            resume=trainer.global_step > 0,
        ).__enter__()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Stop recording and write what is held; called by Lightning."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """Stop recording and write what is held, without hiding the exception; called by Lightning."""
        with contextlib.suppress(LandscopeError):
            self._close()

    def _close(self) -> None:
        if self._recorder is not None:
            self._steps_taken = self._recorder.step
            self._recorder.close()


class TaskMemoryCallback(Holding, Callback):
    """Records a task, and holds the earlier ones, while a ``lightning.Trainer`` trains.

    Call ``memory.consolidate(...)`` after ``fit()``. Checkpoints keep the memory, in the middle of a task too: a
    ``fit`` that resumes from one takes it over, a ``validate`` or ``test`` of one leaves the memory as it is.

    Args:
        memory: Of the ``LightningModule``, or of a module within it.

    Raises:
        InputError: When training begins, if the memory is of another model, a checkpoint to resume from has none of
            these weights, or they lie in none or several of its optimisers.
        NonFiniteError: While training, if a weight became NaN or infinite.

    Example:
        >>> from landscope import TaskMemory
        >>> callback = TaskMemoryCallback(TaskMemory(torch.nn.Linear(2, 1)))
        >>> callback.memory.n_tasks  # then lightning.Trainer(callbacks=[callback])
        0
    """

    @property
    def state_key(self) -> str:
        """Tells the memories of several parts of a model apart in a checkpoint; asked for by Lightning."""
        return self._generate_state_key(parameters=self.memory.space.names)

    _trains = _loaded = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002 - Lightning's signature
        """Know what a checkpoint is read for; called by Lightning."""
        self._trains, self._loaded = stage == "fit", False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record and hold from now on; called by Lightning."""
        self._check(pl_module)
        if trainer.ckpt_path is not None and not self._loaded:
            raise InputError(
                expected=f"a checkpoint with a memory of {', '.join(self.memory.space.names)}", got="one without",
                hint="Resume with a memory of the same model and select= as it was written with, or train anew.",
            )  # fmt: skip
        self._enter(_holder(trainer.optimizers, self.memory.space, self.memory.model))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Stop; called by Lightning."""
        self._leave()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """Stop, without hiding the exception; called by Lightning."""
        self.close()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps; called by Lightning."""
        return self.memory.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what a checkpoint kept, where a training resumes from it; called by Lightning."""
        if self._trains:
            self.memory.load_state_dict(state_dict)
            self._loaded = True


def _holder(
    optimizers: list[torch.optim.Optimizer], space: ParameterSpace, model: torch.nn.Module
) -> torch.optim.Optimizer:
    """The one optimiser that moves the selected parameters."""
    selected = {id(tensor) for tensor in space.tensors(model)}
    holders = [
        optimizer
        for optimizer in optimizers
        if any(id(parameter) in selected for group in optimizer.param_groups for parameter in group["params"])
    ]
    if len(holders) != 1:
        raise InputError(
            expected=f"one optimiser that holds {', '.join(space.names)}",
            got=f"{len(holders) or 'none'} of {len(optimizers)}",
            hint="Select parameters of one optimiser; use a recorder or memory for each of several.",
        )
    return holders[0]
