"""Callbacks of the Lightning Trainer: record the weights, and protect earlier tasks."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch

from landscope.adapters.memory_session import MemorySession
from landscope.adapters.monitor_session import MonitorSession
from landscope.adapters.recorder_session import RecorderSession, RecordingSession, StudySession
from landscope.adapters.session import Training, TrainingSession
from landscope.errors import InputError
from landscope.parameters import ParameterSpace

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as error:
    raise ImportError(f"Expected lightning; got: {error}. Install it: pip install 'landscope[lightning]'.") from error

__all__ = ["MonitorCallback", "RecorderCallback", "StudyCallback", "TaskMemoryCallback"]

_STEPS_TAKEN = "landscope_optimizer_steps"


class _LightningSession(TrainingSession, Callback):
    """Begins and ends a session with a ``fit`` of Lightning."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the session; called by Lightning."""
        self._begin(self._training(trainer, pl_module))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002 - Lightning's signature
        """End the session; called by Lightning."""
        self._end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """End the session without hiding the exception; called by Lightning."""
        self.close()

    def _training(self, trainer: Trainer, pl_module: LightningModule) -> Training:
        return Training(
            model=pl_module,
            optimizer_for=lambda space, model: _optimizer_of(trainer.optimizers, space, model),
            global_step=trainer.global_step,
            steps_taken=trainer.global_step,
            is_main_process=trainer.is_global_zero,
            batch_size=_batch_size(trainer),
            steps_per_epoch=_steps_per_epoch(trainer),
            data=trainer.train_dataloader,
            n_steps=_n_steps(trainer),
        )


class _RecordingLightningSession(RecordingSession, _LightningSession):
    """Keeps the rows and the number of steps that a checkpoint needs."""

    _begin_call = "fit()"
    _steps_taken: int | None = None
    _was_recorded = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002 - Lightning's signature
        """Store the number of steps taken in the checkpoint, and write the rows before it; called by Lightning."""
        if self._recorder is not None:
            self._flush()
            checkpoint.setdefault(_STEPS_TAKEN, {})[repr(self._select)] = self._recorder.step

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Read the number of steps taken from the checkpoint of a resumed training; called by Lightning."""
        stored = checkpoint.get(_STEPS_TAKEN, {})
        self._steps_taken = stored.get(repr(self._select), checkpoint["global_step"])
        self._was_recorded = repr(self._select) in stored

    def _training(self, trainer: Trainer, pl_module: LightningModule) -> Training:
        training = super()._training(trainer, pl_module)
        if trainer.global_step == 0 or self._steps_taken is None:
            return training
        return dataclasses.replace(training, steps_taken=self._steps_taken, was_recorded=self._was_recorded)

    def _end(self) -> None:
        if self._recorder is not None:
            self._steps_taken, self._was_recorded = self._recorder.step, True
        super()._end()


class RecorderCallback(RecorderSession, _RecordingLightningSession):
    """Records the weights during ``lightning.Trainer.fit``, one row after each step of an optimiser.

    Parameter names are those of the ``LightningModule``. With several optimisers, the callback follows the one that
    holds the selected parameters. Each row is one step of that optimiser: gradient accumulation counts once, and steps
    that mixed precision skipped or other optimisers took do not count, so row numbers can lag behind
    ``trainer.global_step``. In a distributed run the main process records; of parameters that FSDP2 or tensor
    parallelism (``ModelParallelStrategy``) has sharded all processes gather rows.

    A training resumed from a checkpoint continues the row numbers of that checkpoint, and a trajectory at ``path``
    keeps its rows up to there. Without a path, each ``fit`` starts a new trajectory in memory.

    Args:
        select: Parameters to record, see :meth:`landscope.ParameterSpace.of`.
        path: Folder of the trajectory; by default the trajectory is kept in memory.
        every: Number of steps between two recorded rows.
        encoding: How the rows are stored on disk, see :class:`landscope.TrajectoryRecorder`.
        sketch: Numbers of a row in place of all weights, see :class:`landscope.TrajectoryRecorder`.

    Raises:
        InputError: If ``every`` is not a positive integer; when training begins, if the selection does not fit the
            model, or its parameters are in no optimiser or in several.
        StorageError: When training begins, if ``path`` exists (and no checkpoint is resumed) or cannot be written.
        NonFiniteError: While recording or when training ends, if a weight became NaN or infinite.

    Example:
        >>> import lightning, torch, warnings
        >>> warnings.filterwarnings("ignore", module="lightning")  # about its own use of torch
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


class StudyCallback(StudySession, _RecordingLightningSession):
    """Records into a study during ``lightning.Trainer.fit``, as :meth:`landscope.Study.record` does.

    The selected weights are kept after each step of the optimiser that holds them, the whole model at some 20
    steps, at the window ends that the study names, and at the end. The batch size (per device, times accumulation,
    times processes) and the steps of an epoch are kept too, where Lightning takes the steps. A training resumed
    from a checkpoint continues the recording at the step of that checkpoint. Rows are counted as in
    :class:`RecorderCallback`.

    Args:
        study: Study of the ``LightningModule``, or of a module inside it.
        select: Parameters to record, see :meth:`landscope.ParameterSpace.of`.
        every: Number of steps between two recorded rows.
        encoding: How the rows are stored on disk, see :class:`landscope.TrajectoryRecorder`.

    Raises:
        InputError: If ``study`` is no study with a model, or ``every`` is not a positive integer; when training begins,
            if the study is of another model, or its parameters are in no optimiser or in several.
        StorageError: When training begins, if the study holds a recording (and no checkpoint is resumed) or results.
        NonFiniteError: While recording or when training ends, if a weight became NaN or infinite.

    Example:
        >>> import lightning, tempfile, torch, warnings
        >>> from landscope import Study
        >>> warnings.filterwarnings("ignore", module="lightning")  # about its own use of torch
        >>> class Line(lightning.LightningModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layer = torch.nn.Linear(2, 1)
        ...     def training_step(self, batch, batch_idx):
        ...         return torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        ...     def configure_optimizers(self):
        ...         return torch.optim.SGD(self.parameters(), lr=0.1)
        >>> model, data = Line(), torch.utils.data.TensorDataset(torch.ones(6, 2), torch.ones(6, 1))
        >>> study = Study(tempfile.mkdtemp() + "/line", model.layer, torch.nn.MSELoss(), data)
        >>> callback = StudyCallback(study, select="weight")
        >>> trainer = lightning.Trainer(max_steps=3, accelerator="cpu", barebones=True, callbacks=[callback])
        >>> trainer.fit(model, torch.utils.data.DataLoader(data, batch_size=2))
        >>> study.trajectory.weights.shape, study.saved_steps
        (torch.Size([3, 2]), [0, 1, 2, 3])
    """


class MonitorCallback(MonitorSession, _LightningSession):
    """Monitors a training during ``lightning.Trainer.fit``, as :class:`landscope.Monitor` does.

    Steps are those of the optimiser: gradient accumulation counts once. Of several processes the main one measures.
    ``callback.monitor`` and ``callback.history`` hold what was measured.

    Args:
        risk: The loss on the training data; or ``f(model)`` that makes it, called when the training begins, where the
            model is on its device.
        batch_size: Samples of a minibatch; ``"training"`` for those of one step of the training, None for the batches
            of the data as they are.
        **settings: Further arguments of :class:`landscope.Monitor`: ``budget``, ``every``, ``to``, ``path``, and so on.

    Raises:
        InputError: If ``risk`` is neither a risk nor a function, or an argument is out of its range; when training
            begins, if one does not fit the model or its data.
        StorageError: When training begins, if ``path`` holds the history of another training.

    Example:
        >>> import landscope as ls
        >>> def risk(module):
        ...     return ls.EmpiricalRisk(module, torch.nn.MSELoss(), (torch.ones(8, 1), torch.zeros(8, 1)))
        >>> callback = MonitorCallback(risk, batch_size=2, to="terminal")  # then Trainer(callbacks=[callback])
    """


class TaskMemoryCallback(MemorySession, _LightningSession):
    """Records the current task and protects the earlier ones during ``lightning.Trainer.fit``.

    Call ``memory.consolidate(...)`` after ``fit()``. A memory with ``replay=64`` learns samples of earlier tasks again
    here too, after the clipping of gradients. Lightning's checkpoints contain the memory, also in the middle of a task:
    a ``fit`` that resumes from a checkpoint loads the memory from it, a ``validate`` or ``test`` does not.

    Args:
        memory: Memory of the ``LightningModule``, or of a module inside it.
        criterion: Loss of the task, as you pass it to ``memory.consolidate``; None for the loss that the model itself
            computes. If it, ``data`` or ``losses`` is given, the method is tried on a few samples before the first
            step, so that a ``fit`` of hours does not end with its error.
        data: Data of the task in the form that the memory's model takes; by default the loader of ``fit``.
        losses: ``losses(model, batch)`` in place of a criterion.
        loss_options: How the loss is evaluated, as for ``memory.consolidate``.

    Raises:
        InputError: If an argument is of another kind; when training begins, if the method does not work for this model
            and the loss or data passed, the memory is of another model, the checkpoint to resume from contains no
            memory of these weights, or the weights are in no optimiser or in several.
        NonFiniteError: During training, if a weight became NaN or infinite.

    Example:
        >>> from landscope import TaskMemory
        >>> callback = TaskMemoryCallback(TaskMemory(torch.nn.Linear(2, 1)), torch.nn.MSELoss())
        >>> callback.memory.n_tasks  # then lightning.Trainer(callbacks=[callback])
        0
    """

    @property
    def state_key(self) -> str:
        """Key of this memory in a checkpoint, unique for each part of the model; read by Lightning."""
        return self._generate_state_key(parameters=self.memory.space.names)

    _fitting = _loaded = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002 - Lightning's signature
        """Note whether a checkpoint will be read to resume a training; called by Lightning."""
        self._fitting, self._loaded = stage == "fit", False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to record and to protect; called by Lightning."""
        self._check_model(pl_module)
        if trainer.ckpt_path is not None and not self._loaded:
            raise InputError(
                expected=f"a checkpoint with a memory of {', '.join(self.memory.space.names)}",
                got="a checkpoint without it",
                hint="Resume with the same model and select= as the checkpoint, or train from scratch.",
            )
        super().on_train_start(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """State of the memory for a checkpoint; called by Lightning."""
        return self.memory.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of the memory where a training resumes from a checkpoint; called by Lightning."""
        if self._fitting:
            self.memory.load_state_dict(state_dict)
            self._loaded = True


def _batch_size(trainer: Trainer) -> int | None:
    """Samples of one step of the optimiser; None where the loop steps by itself or the loader does not say."""
    loader = trainer.train_dataloader
    own = getattr(loader, "batch_size", None) or getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    if not isinstance(own, int) or not trainer.lightning_module.automatic_optimization:
        return None
    return own * trainer.accumulate_grad_batches * trainer.world_size


def _steps_per_epoch(trainer: Trainer) -> int | None:
    """Steps of the optimiser in an epoch; the last one may accumulate fewer minibatches."""
    batches = trainer.num_training_batches
    if not math.isfinite(batches) or not trainer.lightning_module.automatic_optimization:
        return None
    return max(1, math.ceil(batches / trainer.accumulate_grad_batches))


def _optimizer_of(
    optimizers: list[torch.optim.Optimizer], space: ParameterSpace, model: torch.nn.Module
) -> torch.optim.Optimizer:
    """The optimiser of the selected parameters."""
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
            hint="Select parameters of one optimiser; use one recorder or memory for each optimiser.",
        )
    return holders[0]


def _n_steps(trainer: Trainer) -> int | None:
    """Steps that are left; None for a training that ends by itself, or a loader without a length."""
    steps = trainer.estimated_stepping_batches
    return max(0, int(steps) - trainer.global_step) if math.isfinite(steps) else None
