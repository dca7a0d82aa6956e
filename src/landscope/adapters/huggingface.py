"""Callbacks of the Hugging Face Trainer: record the weights, and protect earlier tasks; the loss of language models."""

from __future__ import annotations

import hashlib
import math
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from landscope._checks import check_hooked, check_path
from landscope.adapters.memory_session import MemorySession
from landscope.adapters.monitor_session import MonitorSession
from landscope.adapters.recorder_session import RecorderSession, RecordingSession, StudySession
from landscope.adapters.session import Training, TrainingSession
from landscope.errors import InputError, StorageError
from landscope.memory.task_memory import TaskMemory
from landscope.risk.language_model import language_model_losses

try:
    from accelerate.utils import extract_model_from_parallel
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as error:
    raise ImportError(
        f"Expected transformers and accelerate; got: {error}. Install them: pip install 'landscope[huggingface]'."
    ) from error

__all__ = ["MonitorCallback", "RecorderCallback", "StudyCallback", "TaskMemoryCallback", "language_model_losses"]

_STEPS_TAKEN = "landscope_optimizer_steps"


class _TrainerSession(TrainingSession, TrainerCallback):
    """Begins and ends a session with the Trainer's ``train``."""

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002 - the Trainer's signature
        **kwargs: Any,
    ) -> None:
        """Begin the session; called by the Trainer."""
        optimizer = check_hooked(kwargs["optimizer"])
        training = Training(
            model=_unwrapped_model(kwargs["model"]),
            optimizer_for=lambda *_: optimizer,
            global_step=state.global_step,
            steps_taken=_steps_taken(state),
            was_recorded=state.global_step > 0 and _STEPS_TAKEN in _stored(state),
            is_main_process=state.is_world_process_zero,
            batch_size=(state.train_batch_size or args.train_batch_size)
            * args.gradient_accumulation_steps
            * args.world_size,
            steps_per_epoch=_steps_per_epoch(kwargs.get("train_dataloader"), args),
            data=kwargs.get("train_dataloader"),
            n_steps=max(0, state.max_steps - state.global_step),
        )
        self._begin(training)

    def on_train_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """End the session; called by the Trainer."""
        self._end()


class _RecordingTrainerSession(RecordingSession, _TrainerSession):
    """Keeps the rows and the number of steps that a checkpoint needs."""

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 - the Trainer's signature
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Store the number of steps taken, so that checkpoints contain it; called by the Trainer."""
        if self._recorder is not None:
            _stored(state)[_STEPS_TAKEN] = self._recorder.step
        if control.should_save:
            self._flush()

    def on_save(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Write the rows before a checkpoint; called by the Trainer."""
        self._flush()


class RecorderCallback(RecorderSession, _RecordingTrainerSession):
    """Records the weights during ``transformers.Trainer.train``, one row after each step of the optimiser.

    Parameter names are those of the model itself, without the wrappers of ``torch.compile`` or distributed training.
    Each row is one step of the optimiser: gradient accumulation counts once, and steps that mixed precision skipped do
    not count, so row numbers can lag behind ``state.global_step``. In a distributed run the main process records; of
    parameters that FSDP2 has sharded all processes gather rows. DeepSpeed ZeRO and the first FSDP cannot be recorded.

    A training resumed from a checkpoint continues the row numbers of that checkpoint, and a trajectory at ``path``
    keeps its rows up to there. Without a path, each training starts a new trajectory in memory.

    The Trainer does not tell callbacks about an exception. After one, :meth:`trajectory` still returns the rows
    recorded until then, and also writes them to ``path``.

    Args:
        select: Parameters to record, see :meth:`landscope.ParameterSpace.of`.
        path: Folder of the trajectory; by default the trajectory is kept in memory.
        every: Number of steps between two recorded rows.
        encoding: How the rows are stored on disk, see :class:`landscope.TrajectoryRecorder`.
        sketch: Numbers of a row in place of all weights, see :class:`landscope.TrajectoryRecorder`.

    Raises:
        InputError: If ``every`` is not a positive integer; when training begins, if the selection does not fit the
            model.
        StorageError: When training begins, if ``path`` exists (and no checkpoint is resumed) or cannot be written.
        NonFiniteError: While recording or when training ends, if a weight became NaN or infinite.

    Example:
        >>> import tempfile, torch
        >>> from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
        >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=7, n_positions=8, n_embd=4, n_layer=1, n_head=1))
        >>> tokens = [{"input_ids": row, "labels": row} for row in torch.randint(7, (8, 5))]
        >>> recorder = RecorderCallback(select="*.c_fc.weight")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     arguments = TrainingArguments(folder, max_steps=3, use_cpu=True, disable_tqdm=True, report_to=[])
        ...     done = Trainer(model, arguments, train_dataset=tokens, callbacks=[recorder]).train()
        {'train_runtime': ...}
        >>> recorder.space.names, recorder.trajectory().weights.shape
        (('transformer.h.0.mlp.c_fc.weight',), torch.Size([3, 64]))
    """


class StudyCallback(StudySession, _RecordingTrainerSession):
    """Records into a study during ``transformers.Trainer.train``, as :meth:`landscope.Study.record` does.

    The selected weights are kept after each step of the optimiser, the whole model at some 20 steps, at the window ends
    that the study names, and at the end. The batch size (per device, times accumulation, times processes) and the
    steps of an epoch are kept too. A training resumed from a checkpoint continues the recording at the step of that
    checkpoint. Rows are counted as in :class:`RecorderCallback`.

    Args:
        study: Study of the Trainer's model, or of a module inside it.
        select: Parameters to record, see :meth:`landscope.ParameterSpace.of`.
        every: Number of steps between two recorded rows.
        encoding: How the rows are stored on disk, see :class:`landscope.TrajectoryRecorder`.

    Raises:
        InputError: If ``study`` is no study with a model, or ``every`` is not a positive integer; when training begins,
            if the study is of another model, or the selection does not fit it.
        StorageError: When training begins, if the study holds a recording (and no checkpoint is resumed) or results.
        NonFiniteError: While recording or when training ends, if a weight became NaN or infinite.

    Example:
        >>> import tempfile, torch
        >>> from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
        >>> from landscope import Study
        >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=7, n_positions=8, n_embd=4, n_layer=1, n_head=1))
        >>> tokens = [{"input_ids": row, "labels": row} for row in torch.randint(7, (8, 5))]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     data = torch.utils.data.DataLoader(tokens, batch_size=4)
        ...     study = Study(folder + "/study", model, language_model_losses, data)
        ...     arguments = TrainingArguments(folder, max_steps=3, use_cpu=True, disable_tqdm=True, report_to=[])
        ...     callback = StudyCallback(study, select="*.c_fc.weight")
        ...     done = Trainer(model, arguments, train_dataset=tokens, callbacks=[callback]).train()
        ...     study.trajectory.weights.shape, study.saved_steps
        {'train_runtime': ...}
        (torch.Size([3, 64]), [0, 1, 2, 3])
    """


class MonitorCallback(MonitorSession, _TrainerSession):
    """Monitors a training during ``transformers.Trainer.train``, as :class:`landscope.Monitor` does.

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
        >>> import landscope as ls, tempfile, torch
        >>> from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
        >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=7, n_positions=8, n_embd=4, n_layer=1, n_head=1))
        >>> tokens = [{"input_ids": row, "labels": row} for row in torch.randint(7, (16, 5))]
        >>> batches = list(torch.utils.data.DataLoader(tokens, batch_size=4))
        >>> def losses(model, batch):
        ...     return language_model_losses(model(**batch), batch["labels"])
        >>> risk = ls.EmpiricalRisk.from_closure(model, losses, batches)
        >>> monitor = MonitorCallback(risk, batch_size=4, every=1, quantities=["loss", "noise_scale"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     arguments = TrainingArguments(folder, max_steps=3, use_cpu=True, disable_tqdm=True, report_to=[])
        ...     done = Trainer(model, arguments, train_dataset=tokens, callbacks=[monitor]).train()
        {'train_runtime': ...}
        >>> monitor.history.curve("loss")[0].tolist()
        [1, 2, 3]
    """


class TaskMemoryCallback(MemorySession, _TrainerSession):
    """Records the current task and protects the earlier ones during ``transformers.Trainer.train``.

    Call ``memory.consolidate(...)`` after ``train()``. A memory with ``replay=64`` learns samples of earlier tasks
    again here too, after the clipping of gradients. Every checkpoint folder contains a file with the memory. A resumed
    training looks for that file in the folders of ``output_dir`` and loads it if it was written at the weights that the
    Trainer loaded.

    Args:
        memory: Memory of the Trainer's model, or of a module inside it.
        resume_from: Folder of the checkpoint to resume from, if it is outside of ``output_dir``.
        criterion: Loss of the task, as you pass it to ``memory.consolidate``; None for the loss that the model itself
            computes. If it, ``data`` or ``losses`` is given, the method is tried on a few samples before the first
            step, so that a training of hours does not end with its error. Without any, a batch shows whether the loss
            inside the model can be taken.
        data: Data of the task in the form that the memory's model takes; by default the loader of the Trainer.
        losses: ``losses(model, batch)`` in place of a criterion.
        loss_options: How the loss is evaluated, as for ``memory.consolidate``.

    Raises:
        InputError: If an argument is of another kind; when training begins, if the method does not work for this model
            and the loss or data passed, the memory is of another model, or the checkpoint to resume from contains no
            memory.
        StorageError: When a training is resumed, if the memory's file is damaged.
        NonFiniteError: During training, if a weight became NaN or infinite.

    Warns:
        LandscopeWarning: When training begins, if no loss or data were passed and the loss inside the model is none
            that ``memory.consolidate(data=...)`` could take.

    Example:
        >>> from landscope import TaskMemory
        >>> callback = TaskMemoryCallback(TaskMemory(torch.nn.Linear(2, 1)), criterion=torch.nn.MSELoss())
        >>> callback.memory.n_tasks  # then Trainer(callbacks=[callback])
        0
    """

    def __init__(
        self,
        memory: TaskMemory,
        resume_from: str | Path | None = None,
        *,
        criterion: Callable[..., Any] | None = None,
        data: Any = None,
        losses: Callable[[nn.Module, Any], Any] | None = None,
        loss_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(memory, criterion, data, losses=losses, loss_options=loss_options)
        self._resume_from = None if resume_from is None else check_path("resume_from", resume_from)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Begin to record and to protect, after loading the memory of a checkpoint; called by the Trainer."""
        self.close()  # an interrupted training must not mix its rows with those of the checkpoint
        self._check_model(_unwrapped_model(kwargs["model"]))
        if state.global_step > 0:
            self.memory.load_state_dict(self._stored_memory(args, state))
        super().on_train_begin(args, state, control, **kwargs)

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Write the memory into the folder of a checkpoint; called by the Trainer."""
        if state.is_world_process_zero:
            contents = {"weights": _digest(self.memory), "memory": self.memory.state_dict()}
            torch.save(contents, _checkpoint(args, state) / _memory_file(self.memory))

    def _stored_memory(self, args: TrainingArguments, state: TrainerState) -> dict[str, Any]:
        """The memory that was saved at the current weights, first looked for where the user says."""
        given = [Path(folder) for folder in (self._resume_from, args.resume_from_checkpoint) if folder]
        folders, digest = [*given, _checkpoint(args, state)], _digest(self.memory)
        name = _memory_file(self.memory)
        elsewhere = sorted(folders[-1].parent.glob(f"*/{name}"))
        for path in (*(folder / name for folder in folders), *elsewhere):
            if path.exists() and (contents := _read(path)).get("weights") == digest:
                return contents["memory"]
        raise InputError(
            expected="the memory of the checkpoint that the training resumes from",
            got=f"no memory saved at these weights in {', '.join(map(str, given)) or folders[-1].parent}",
            hint="Pass the folder of the checkpoint as TaskMemoryCallback(memory, resume_from=...).",
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise StorageError(
            expected=f"the memory of a checkpoint in {path}", got="a damaged file",
            hint="Resume from another checkpoint, or delete the file.",
        ) from error  # fmt: skip


def _digest(memory: TaskMemory) -> str:
    """Hash of the memory's weights."""
    w = memory.space.flatten(memory.model).detach().cpu().contiguous()
    return hashlib.sha256(w.view(torch.uint8).numpy().tobytes()).hexdigest()


def _memory_file(memory: TaskMemory) -> str:
    """Name of the memory's file, unique for each part of a model."""
    names = hashlib.sha256("\n".join(memory.space.names).encode()).hexdigest()
    return f"landscope_task_memory-{names[:12]}.pt"


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"


def _steps_per_epoch(loader: Any, args: TrainingArguments) -> int | None:
    """Steps of the optimiser in an epoch; the last one may accumulate fewer minibatches."""
    try:
        return max(1, math.ceil(len(loader) / args.gradient_accumulation_steps))
    except TypeError:  # a stream has no length
        return None


def _unwrapped_model(model: nn.Module) -> nn.Module:
    return extract_model_from_parallel(model, keep_torch_compile=False)


def _steps_taken(state: TrainerState) -> int:
    """Number of steps taken before this training; global_step also counts steps that mixed precision skipped."""
    return _stored(state).get(_STEPS_TAKEN, state.global_step) if state.global_step else 0


def _stored(state: TrainerState) -> dict[str, Any]:
    """The values of callbacks in a checkpoint; always a dict, although the annotation allows None."""
    return cast("dict[str, Any]", state.stateful_callbacks)
