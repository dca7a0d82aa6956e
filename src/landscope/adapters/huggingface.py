"""Recording, and holding tasks, under the Hugging Face Trainer; the loss of a language model token by token."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from landscope.adapters.holding import Holding
from landscope.adapters.recording import Recording
from landscope.errors import InputError, LandscopeError, StorageError
from landscope.memory.task_memory import TaskMemory
from landscope.recorder import TrajectoryRecorder
from landscope.risk.language_model import language_model_losses

try:
    from accelerate.optimizer import AcceleratedOptimizer
    from accelerate.utils import extract_model_from_parallel
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as error:
    raise ImportError(f"Expected transformers and accelerate; got: {error}. Install landscope[huggingface].") from error

__all__ = ["RecorderCallback", "TaskMemoryCallback", "language_model_losses"]

_STEPS_TAKEN = "landscope_optimizer_steps"


class RecorderCallback(Recording, TrainerCallback):
    """Records the weights of a ``transformers.Trainer``, one row after each step of its optimiser.

    Parameter names are those of the model itself, without what ``torch.compile`` or distributed training wrap
    around it. A row is one step that the optimiser took: gradient accumulation counts once, and a step that
    mixed precision skipped does not count, so row numbers can lag behind ``state.global_step``. In a distributed
    run only the main process records. Sharded parameters (FSDP, DeepSpeed ZeRO) cannot be recorded.

    A training resumed from a checkpoint goes on with the numbers of that checkpoint; a ``path`` keeps its rows up to
    there. Without a path each training starts anew in memory.

    The Trainer tells no callback of an exception. Rows held until then are still given by :meth:`trajectory`, which
    also writes them to ``path``.

    Args:
        select: Which parameters, see :meth:`landscope.ParameterSpace.of`.
        path: Folder for the trajectory; in memory by default.
        every: Record every so many steps.

    Raises:
        InputError: If ``every`` is no positive number; when training begins, if the selection does not fit the model.
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

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002 - the Trainer's signature
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,
    ) -> None:
        """Start to record; called by the Trainer."""
        if self._recorder is not None:
            # A training that broke off may have left its hook; that it went wrong is known by now.
            with contextlib.suppress(LandscopeError):
                self._recorder.close()
            self._recorder = None
        if not state.is_world_process_zero:
            return
        self._recorder = TrajectoryRecorder(
            _model_itself(kwargs["model"]),
            _optimizer_itself(kwargs["optimizer"]),
            self._select,
            path=self._path,
            every=self._every,
            first_step=_steps_taken(state) + 1,
            resume=state.global_step > 0,
        ).__enter__()

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Leave the number of steps taken where checkpoints keep it; called by the Trainer."""
        if self._recorder is not None:
            _kept(state)[_STEPS_TAKEN] = self._recorder.step

    def on_train_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Stop recording and write what is held; called by the Trainer."""
        if self._recorder is not None:
            self._recorder.close()


class TaskMemoryCallback(Holding, TrainerCallback):
    """Records a task, and holds the earlier ones, while a ``transformers.Trainer`` trains.

    Call ``memory.consolidate(...)`` after ``train()``. Every checkpoint keeps the memory in a file beside its own, and
    a training resumed from it goes on where it was: the file is looked for in the folders of ``output_dir``, and taken
    if it was written at the weights that were loaded.

    Args:
        memory: Of the Trainer's model, or of a module within it.
        resume_from: The checkpoint to resume from, where it lies outside of ``output_dir``.

    Raises:
        InputError: When training begins, if the memory is of another model, or a checkpoint to resume from has none.
        StorageError: When a training is resumed, if the memory's file is damaged.
        NonFiniteError: While training, if a weight became NaN or infinite.

    Example:
        >>> from landscope import TaskMemory
        >>> callback = TaskMemoryCallback(TaskMemory(torch.nn.Linear(2, 1)))
        >>> callback.memory.n_tasks  # then Trainer(callbacks=[callback])
        0
    """

    def __init__(self, memory: TaskMemory, resume_from: str | Path | None = None) -> None:
        super().__init__(memory)
        self._resume_from = resume_from

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,
    ) -> None:
        """Record and hold from now on; called by the Trainer."""
        self.close()  # before its rows could mix with those of the checkpoint
        self._check(_model_itself(kwargs["model"]))
        if state.global_step > 0:
            self.memory.load_state_dict(self._kept_at_these_weights(args, state))
        self._enter(_optimizer_itself(kwargs["optimizer"]))

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Keep the memory beside a checkpoint; called by the Trainer."""
        if state.is_world_process_zero:
            kept = {"weights": _digest(self.memory), "memory": self.memory.state_dict()}
            torch.save(kept, _checkpoint(args, state) / _memory_file(self.memory))

    def on_train_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Stop; called by the Trainer."""
        self._leave()

    def _kept_at_these_weights(self, args: TrainingArguments, state: TrainerState) -> dict[str, Any]:
        """The memory that was kept at the weights of the moment, looked for where it should lie first."""
        told = [Path(folder) for folder in (self._resume_from, args.resume_from_checkpoint) if folder]
        folders, digest = [*told, _checkpoint(args, state)], _digest(self.memory)
        name = _memory_file(self.memory)
        elsewhere = sorted(folders[-1].parent.glob(f"*/{name}"))
        for path in (*(folder / name for folder in folders), *elsewhere):
            if path.exists() and (kept := _read(path)).get("weights") == digest:
                return kept["memory"]
        raise InputError(
            expected="the memory of the checkpoint that the training resumes from",
            got=f"none at these weights in {', '.join(map(str, told)) or folders[-1].parent}",
            hint="Pass TaskMemoryCallback(memory, resume_from=...) its folder, saved with this callback.",
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise StorageError(
            expected=f"the memory of a checkpoint in {path}", got="a damaged file",
            hint="Resume from another checkpoint, or remove the file.",
        ) from error  # fmt: skip


def _digest(memory: TaskMemory) -> str:
    """Of the weights that a memory is of, to the bit."""
    w = memory.space.flatten(memory.model).detach().cpu().contiguous()
    return hashlib.sha256(w.view(torch.uint8).numpy().tobytes()).hexdigest()


def _memory_file(memory: TaskMemory) -> str:
    """Of its own for every part of a model that has a memory."""
    names = hashlib.sha256("\n".join(memory.space.names).encode()).hexdigest()
    return f"landscope_task_memory-{names[:12]}.pt"


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"


def _model_itself(model: nn.Module) -> nn.Module:
    return extract_model_from_parallel(model, keep_torch_compile=False)


def _optimizer_itself(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimiser whose step is a step: accelerate's wrapper is also called where none is taken."""
    while isinstance(optimizer, AcceleratedOptimizer):
        optimizer = optimizer.optimizer
    return optimizer


def _steps_taken(state: TrainerState) -> int:
    """Steps before this training; global_step counts those too that mixed precision skipped."""
    return _kept(state).get(_STEPS_TAKEN, state.global_step) if state.global_step else 0


def _kept(state: TrainerState) -> dict[str, Any]:
    """What checkpoints keep for callbacks: a dict from its construction on, whatever its annotation says."""
    return cast("dict[str, Any]", state.stateful_callbacks)
