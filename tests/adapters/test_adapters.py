"""The adapters beside the real frameworks: what they record is what the optimiser did, and they change nothing."""

import importlib
import sys

import lightning
import pytest
import torch
from accelerate import Accelerator
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn
from torch.utils.data import DataLoader
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.utils import ModelOutput

import landscope as ls
from landscope.adapters import huggingface
from landscope.adapters import lightning as adapter
from landscope.errors import InputError, NonFiniteError, StorageError
from landscope.risk.language_model import language_model_losses

pytestmark = [
    # Lightning asks torch and the system in ways that newer ones no longer like, and advises on speed.
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty:UserWarning"),
]

VOCABULARY = 31
C_FC = "*.c_fc.weight"


def gpt2():
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=12, n_embd=16, n_layer=2, n_head=2, attn_implementation="eager"
    )
    return GPT2LMHeadModel(config)


def sentences(count=96, length=9):
    rows = torch.randint(VOCABULARY, (count, length), generator=torch.Generator().manual_seed(2))
    return [{"input_ids": row, "labels": row} for row in rows]


def picked(model, ending=".c_fc.weight"):
    """The weights by hand, without ParameterSpace."""
    return torch.cat([p.detach().flatten() for name, p in model.named_parameters() if name.endswith(ending)])


def watched(optimizer, model, ending=".c_fc.weight"):
    """A list that fills with the weights after each step, by a hook of its own."""
    seen = []
    optimizer.register_step_post_hook(lambda *_: seen.append(picked(model, ending)))
    return seen


def hf_trainer(folder, model, *callbacks, optimizer=None, **arguments):
    settings = {
        "max_steps": 12, "per_device_train_batch_size": 2, "learning_rate": 1e-2, "save_strategy": "no",
        "report_to": [], "disable_tqdm": True, "use_cpu": True, "seed": 3,
    }  # fmt: skip
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), lr=1e-2)
    return Trainer(
        model,
        TrainingArguments(str(folder), **(settings | arguments)),
        train_dataset=sentences(),
        callbacks=list(callbacks),
        optimizers=(optimizer, None),
    )


@pytest.mark.parametrize("accumulate", [1, 2])
def test_hf_rows_are_the_weights_after_each_step_and_nothing_changes(accumulate, tmp_path):
    bare, model = gpt2(), gpt2()
    hf_trainer(tmp_path, bare, gradient_accumulation_steps=accumulate).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    seen = watched(optimizer, model)
    memory = huggingface.RecorderCallback(C_FC)
    disk = huggingface.RecorderCallback(select=[C_FC], path=tmp_path / "t")
    third = huggingface.RecorderCallback(C_FC, every=3)
    sketch = huggingface.RecorderCallback(C_FC, sketch=64)
    hf_trainer(
        tmp_path, model, memory, disk, third, sketch, optimizer=optimizer, gradient_accumulation_steps=accumulate
    ).train()
    assert len(seen) == 12
    for trajectory in (memory.trajectory(), disk.trajectory(), ls.open_trajectory(tmp_path / "t")):
        assert trajectory.steps.tolist() == list(range(1, 13))
        assert torch.equal(trajectory.weights, torch.stack(seen))
        assert trajectory.learning_rate[0] == 1e-2
        assert trajectory.learning_rate[-1] < 1e-2
    assert torch.equal(third.trajectory().weights, torch.stack(seen[2::3]))
    sketches = sketch.trajectory()
    assert torch.equal(sketches.weights, sketches.sketch(torch.stack(seen)))
    assert memory.space == ls.ParameterSpace.of(model, C_FC)
    assert memory.space.names == ("transformer.h.0.mlp.c_fc.weight", "transformer.h.1.mlp.c_fc.weight")
    for ours, theirs in zip(model.parameters(), bare.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert len(optimizer._optimizer_step_post_hooks) == 1  # the test's own


def test_hf_steps_that_mixed_precision_skips_do_not_count_and_resuming_knows(tmp_path):
    def scaled(model, recorder):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        trainer = hf_trainer(tmp_path, model, recorder, optimizer=optimizer, save_strategy="steps", save_steps=6)
        # The loss overflows float32 at first: the scaler skips steps, and halves until it does not.
        trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
        return trainer, watched(optimizer, model)

    trainer, seen = scaled(gpt2(), huggingface.RecorderCallback(C_FC, path=tmp_path / "t"))
    trainer.train()
    assert trainer.state.global_step == 12
    assert 6 < len(seen) < 12
    assert torch.equal(ls.open_trajectory(tmp_path / "t").weights, torch.stack(seen))

    recorder = huggingface.RecorderCallback(C_FC, path=tmp_path / "t")
    trainer, again = scaled(gpt2(), recorder)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    trajectory = recorder.trajectory()
    assert trajectory.steps.tolist() == list(range(1, len(seen) + 1))
    assert 0 < len(again) <= 6
    assert torch.equal(trajectory.weights, torch.stack(seen[: -len(again)] + again))


def test_hf_resuming_without_mixed_precision_keeps_the_rows_of_the_checkpoint(tmp_path):
    arguments = {"save_strategy": "steps", "save_steps": 5}
    hf_trainer(tmp_path, gpt2(), huggingface.RecorderCallback(C_FC, path=tmp_path / "t"), **arguments).train()
    before = ls.open_trajectory(tmp_path / "t").weights
    for recorder in (huggingface.RecorderCallback(C_FC, path=tmp_path / "t"), huggingface.RecorderCallback(C_FC)):
        trainer = hf_trainer(tmp_path, gpt2(), recorder, **arguments)
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
        after = recorder.trajectory()
        assert after.steps.tolist() == list(range(1 if recorder._path else 6, 13))
        assert torch.equal(after.weights, before[-len(after) :])
    with pytest.raises(StorageError):
        hf_trainer(tmp_path, gpt2(), huggingface.RecorderCallback(C_FC, path=tmp_path / "t")).train()


class Breaks(TrainerCallback, lightning.Callback):
    """Fails after some steps, under either framework."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 4:
            raise RuntimeError("the user's own")

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 4:
            raise RuntimeError("the user's own")


def test_hf_rows_until_an_exception_are_kept_and_the_next_training_starts_anew(tmp_path):
    model, recorder = gpt2(), huggingface.RecorderCallback(C_FC)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    with pytest.raises(RuntimeError, match="the user's own"):
        hf_trainer(tmp_path, model, recorder, Breaks(), optimizer=optimizer).train()
    assert recorder.trajectory().steps.tolist() == [1, 2, 3, 4]
    hf_trainer(tmp_path, model, recorder, optimizer=optimizer, max_steps=3).train()
    assert recorder.trajectory().steps.tolist() == [1, 2, 3]
    assert not optimizer._optimizer_step_post_hooks


def test_hf_weights_that_became_nan_are_told_when_training_ends(tmp_path):
    model, recorder = gpt2(), huggingface.RecorderCallback(C_FC)
    optimizer = torch.optim.SGD(model.parameters(), lr=float("nan"))
    with pytest.raises(NonFiniteError):
        hf_trainer(tmp_path, model, recorder, optimizer=optimizer, max_steps=2).train()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: torch.compile(model, backend="eager"),
        nn.DataParallel,
        lambda model: torch.compile(nn.DataParallel(model), backend="eager"),
    ],
)
def test_hf_names_are_those_of_the_model_that_is_wrapped(wrap, tmp_path):
    model = nn.Sequential(nn.Linear(3, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = huggingface.RecorderCallback(nn.Linear)
    event = TrainingArguments(str(tmp_path), use_cpu=True), TrainerState(), TrainerControl()
    prepared = Accelerator(cpu=True).prepare_optimizer(optimizer)
    recorder.on_train_begin(*event, model=wrap(model), optimizer=prepared)
    optimizer.step()
    assert recorder.space.names == ("0.weight", "0.bias")
    assert torch.equal(recorder.trajectory().weights[0], picked(model, ""))


@pytest.mark.parametrize("module", [huggingface, adapter])
def test_what_can_be_known_too_early_is_said(module):
    recorder = module.RecorderCallback()
    with pytest.raises(InputError, match="Pass this callback"):
        recorder.trajectory()
    with pytest.raises(InputError, match="Pass this callback"):
        _ = recorder.space
    with pytest.raises(InputError, match="every"):
        module.RecorderCallback(every=0)


def test_only_the_main_process_records(tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "is_world_process_zero", lambda self: False)
    monkeypatch.setattr(lightning.Trainer, "is_global_zero", False)
    recorders = huggingface.RecorderCallback(), adapter.RecorderCallback()
    hf_trainer(tmp_path, gpt2(), recorders[0], max_steps=2).train()
    fit(tmp_path, Perceptron(), recorders[1])
    for recorder in recorders:
        with pytest.raises(InputError, match="main process"):
            recorder.trajectory()


@pytest.mark.parametrize(
    ("name", "framework"), [("huggingface", "transformers"), ("huggingface", "accelerate"), ("lightning", "lightning")]
)
def test_a_missing_framework_is_named_with_the_extra_that_brings_it(monkeypatch, name, framework):
    for module in [module for module in sys.modules if module == framework or module.startswith(f"{framework}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, framework, None)
    monkeypatch.delitem(sys.modules, f"landscope.adapters.{name}")
    with pytest.raises(ImportError, match=rf"Expected .*{framework}.*pip install 'landscope\[{name}\]'"):
        importlib.import_module(f"landscope.adapters.{name}")


def batches_with_ignored_tokens():
    generator = torch.Generator().manual_seed(5)
    for count, ignored in ((4, 0.1), (3, 0.7)):
        tokens = torch.randint(VOCABULARY, (count, 9), generator=generator)
        labels = tokens.masked_fill(torch.rand(tokens.shape, generator=generator) < ignored, -100)
        yield {"input_ids": tokens, "labels": labels}


@torch.no_grad()
def test_language_model_losses_are_those_of_transformers():
    model = gpt2().eval()
    total, tokens, expected = 0.0, 0.0, 0.0
    for batch in batches_with_ignored_tokens():
        outputs = model(**batch)
        losses, counts = language_model_losses(outputs, batch["labels"])
        count = int(counts.sum())
        assert losses.shape == (len(batch["labels"]),)
        # A mean of some 30 float32 terms, added in another order.
        assert float(losses.sum() / count) == pytest.approx(float(outputs.loss), rel=1e-5)
        again, _ = language_model_losses(outputs.logits, batch["labels"])
        assert torch.equal(again, losses)
        for k, row in enumerate(losses):  # by hand, token by token
            log_p = outputs.logits[k].log_softmax(dim=-1)
            terms = [-log_p[i - 1, z] for i, z in enumerate(batch["labels"][k]) if i > 0 and z != -100]
            assert float(row) == pytest.approx(float(sum(terms)), rel=1e-5)
        total, tokens = total + float(losses.sum()), tokens + count
        expected += float(outputs.loss) * count
    assert total / tokens == pytest.approx(expected / tokens, rel=1e-5)


def test_language_model_losses_keep_float64_and_gradients_and_add_half_precision_in_float32():
    logits, labels = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True), torch.randint(5, (2, 4))
    losses, counts = language_model_losses(logits, labels)
    assert (losses.dtype, counts.tolist()) == (torch.float64, [3, 3])
    losses.sum().backward()
    assert float(logits.grad[:, -1].abs().sum()) == 0.0 < float(logits.grad[:, 0].abs().sum())
    assert language_model_losses(logits.detach().bfloat16(), labels)[0].dtype == torch.float32
    nothing, counts = language_model_losses(logits, torch.full((2, 4), -100))
    assert (nothing.tolist(), counts.tolist()) == ([0.0, 0.0], [0, 0])


def test_outputs_that_do_not_fit_the_labels_are_refused():
    labels = torch.zeros(2, 4, dtype=torch.long)
    with pytest.raises(InputError, match="no logits"):
        language_model_losses(ModelOutput(loss=torch.zeros(())), labels)
    with pytest.raises(InputError, match=r"\[2, 3, 5\] with labels \[2, 4\]"):
        language_model_losses(ModelOutput(logits=torch.zeros(2, 3, 5)), labels)


class Perceptron(lightning.LightningModule):
    """Three layers under one optimiser, which is watched."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))

    def training_step(self, batch, batch_idx):
        return self.layers(batch).square().mean()

    def test_step(self, batch, batch_idx):
        self.layers(batch)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        self.seen = watched(optimizer, self, ".weight")
        return optimizer


class TwoPlayers(Perceptron):
    """The first layer moves once a batch, the last one twice, each under an optimiser of its own."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        first, last = self.optimizers()
        for optimizer in (first, last, last):
            optimizer.zero_grad()
            self.manual_backward(self.layers(batch).square().mean())
            optimizer.step()

    def configure_optimizers(self):
        first, last = (torch.optim.SGD(self.layers[k].parameters(), lr=0.1) for k in (0, 4))
        self.seen_first, self.seen_last = watched(first, self, "0.weight"), watched(last, self, "4.weight")
        return [first, last]


def loader():
    return DataLoader(torch.randn(24, 4, generator=torch.Generator().manual_seed(2)), batch_size=2)


def fit(folder, model, *callbacks, resume=None, **arguments):
    settings = {
        "max_epochs": 2, "accelerator": "cpu", "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False, "default_root_dir": folder,
    }  # fmt: skip
    trainer = lightning.Trainer(callbacks=list(callbacks), **(settings | arguments))
    trainer.fit(model, loader(), ckpt_path=resume)
    return trainer


def test_lightning_rows_are_the_weights_after_each_step_and_nothing_changes(tmp_path):
    bare, model = Perceptron(), Perceptron()
    fit(tmp_path, bare, accumulate_grad_batches=2)
    memory = adapter.RecorderCallback("*.weight")
    disk = adapter.RecorderCallback(select="*.weight", path=tmp_path / "t")
    third = adapter.RecorderCallback("*.weight", every=3)
    fit(tmp_path, model, memory, disk, third, accumulate_grad_batches=2)
    assert len(model.seen) == 12
    for trajectory in (memory.trajectory(), disk.trajectory(), ls.open_trajectory(tmp_path / "t")):
        assert trajectory.steps.tolist() == list(range(1, 13))
        assert torch.equal(trajectory.weights, torch.stack(model.seen))
    assert torch.equal(third.trajectory().weights, torch.stack(model.seen[2::3]))
    assert memory.space == ls.ParameterSpace.of(model, "*.weight")
    assert memory.space.names == ("layers.0.weight", "layers.2.weight", "layers.4.weight")
    for ours, theirs in zip(model.parameters(), bare.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_lightning_follows_the_optimiser_that_holds_the_selection(tmp_path):
    model = TwoPlayers()
    first, last = adapter.RecorderCallback("layers.0.weight"), adapter.RecorderCallback("layers.4.weight")
    fit(tmp_path, model, first, last, max_epochs=1)
    assert first.trajectory().steps.tolist() == list(range(1, 13))
    assert last.trajectory().steps.tolist() == list(range(1, 25))
    assert torch.equal(first.trajectory().weights, torch.stack(model.seen_first))
    assert torch.equal(last.trajectory().weights, torch.stack(model.seen_last))
    for select, got in (("layers.2.weight", "none of 2"), ("*.weight", "2 of 2")):
        with pytest.raises(InputError, match=f"one optimiser that holds .* got {got}"):
            fit(tmp_path, TwoPlayers(), adapter.RecorderCallback(select), max_epochs=1)


def test_lightning_resuming_goes_on_from_the_steps_of_the_followed_optimiser(tmp_path):
    def players(resume=None):
        model = TwoPlayers()
        recorders = [adapter.RecorderCallback(f"layers.{k}.weight", path=tmp_path / f"t{k}") for k in (0, 4)]
        saver = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
        fit(tmp_path, model, *recorders, saver, enable_checkpointing=True, resume=resume)
        return model, [recorder.trajectory() for recorder in recorders]

    before, _ = players()
    with pytest.raises(StorageError):
        players()
    after, (first, last) = players(resume=tmp_path / "epoch=0.ckpt")
    assert first.steps.tolist() == list(range(1, 25))
    assert last.steps.tolist() == list(range(1, 49))
    assert torch.equal(first.weights, torch.stack(before.seen_first[:12] + after.seen_first))
    assert torch.equal(last.weights, torch.stack(before.seen_last[:24] + after.seen_last))


def test_lightning_goes_on_from_global_step_where_the_checkpoint_knows_no_recorder(tmp_path):
    def saver():
        return ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)

    fit(tmp_path, Perceptron(), saver(), enable_checkpointing=True, max_epochs=1)
    model, recorder = Perceptron(), adapter.RecorderCallback("*.weight")
    resume = tmp_path / "epoch=0.ckpt"
    trainer = fit(tmp_path, model, recorder, saver(), enable_checkpointing=True, resume=resume)
    assert recorder.trajectory().steps.tolist() == list(range(13, 25))
    trainer.test(model, loader(), ckpt_path=resume, verbose=False)
    assert len(recorder.trajectory()) == 12  # a checkpoint read for a test takes nothing away
    trainer.fit_loop.max_epochs = 3
    trainer.fit(model, loader())
    assert recorder.trajectory().steps.tolist() == list(range(25, 37))


def test_lightning_steps_that_mixed_precision_skips_do_not_count(tmp_path):
    model, recorder = Perceptron(), adapter.RecorderCallback("*.weight")
    # Gradients overflow float16 at first: the scaler skips steps, and halves until they do not.
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)
    trainer = fit(tmp_path, model, recorder, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    assert trainer.global_step == 24
    assert 6 < len(model.seen) < 24
    assert torch.equal(recorder.trajectory().weights, torch.stack(model.seen))


def test_lightning_rows_until_an_exception_are_written(tmp_path):
    model, recorder = Perceptron(), adapter.RecorderCallback("*.weight", path=tmp_path / "t")
    with pytest.raises(RuntimeError, match="the user's own"):
        fit(tmp_path, model, recorder, Breaks())
    assert torch.equal(ls.open_trajectory(tmp_path / "t").weights, torch.stack(model.seen))
    assert len(model.seen) == 4
