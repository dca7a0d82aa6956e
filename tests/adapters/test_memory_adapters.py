"""Task memories under the Trainers of other frameworks, also resumed from their checkpoints."""

import types

import lightning
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import Trainer, TrainerCallback, TrainingArguments

import landscope as ls
from blobs import CRITERION, accuracy, learn, network, sgd, task
from landscope.adapters import avalanche, huggingface
from landscope.adapters import lightning as pl
from landscope.errors import InputError, StorageError
from landscope.memory import EWC
from reliability_trainer import Classifier

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty:UserWarning"),
]
STEPS = 1500


class Lit(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = network()

    def training_step(self, batch, _):
        return CRITERION(self.network(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.5)


def lightning_trainer(*callbacks, steps=STEPS, root=None):
    return lightning.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=list(callbacks), default_root_dir=root,
    )  # fmt: skip


def loader(number, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(TensorDataset(*task(number)), batch_size=16, shuffle=True, generator=generator)


def hugging_face_trainer(model, number, folder, *callbacks, steps=STEPS, **options):
    inputs, labels = task(number)
    rows = [{"x": x, "labels": y} for x, y in zip(inputs, labels, strict=True)]
    settings = {"save_strategy": "no", "learning_rate": 0.05, "lr_scheduler_type": "constant"} | options
    arguments = TrainingArguments(
        str(folder), max_steps=steps, per_device_train_batch_size=16, report_to=[], disable_tqdm=True, use_cpu=True,
        seed=3, optim="sgd", **settings,
    )  # fmt: skip
    return Trainer(model, arguments, train_dataset=rows, callbacks=list(callbacks))


def under_lightning(folder):
    model = Lit()
    memory = ls.TaskMemory(model.network, method="ldc")
    for number in range(2):
        lightning_trainer(pl.TaskMemoryCallback(memory), root=folder).fit(model, loader(number))
        memory.consolidate(CRITERION, task(number))
    return model.network


def under_hugging_face(folder):
    model = Classifier()
    memory = ls.TaskMemory(model.network, method="ldc")
    for number in range(2):
        hugging_face_trainer(model, number, folder, huggingface.TaskMemoryCallback(memory)).train()
        memory.consolidate(CRITERION, task(number))
    return model.network


def under_avalanche(folder):
    """Calls the hooks of the plugin as an Avalanche strategy does."""
    model = network()
    optimizer, generator = sgd(model), torch.Generator().manual_seed(1)
    plugin = avalanche.TaskMemoryPlugin(ls.TaskMemory(model, method="ldc"))
    for number in range(2):
        dataset = [(x, int(y), number) for x, y in zip(*task(number), strict=True)]
        experience = types.SimpleNamespace(dataset=dataset)
        strategy = types.SimpleNamespace(model=model, optimizer=optimizer, _criterion=CRITERION, experience=experience)
        plugin.before_training_exp(strategy)
        learn(model, optimizer, task(number), STEPS, generator)
        plugin.after_training_exp(strategy)
    assert plugin.memory.n_tasks == 2
    return model


@pytest.mark.filterwarnings("ignore:landscope evaluates the whole model")
def test_a_model_with_a_head_for_each_task_is_measured_with_the_task():
    class Headed(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk, self.heads = nn.Linear(2, 8), nn.ModuleList(nn.Linear(8, 3) for _ in range(2))

        def forward(self, x, task_labels):
            return self.heads[int(task_labels[0])](self.trunk(x).relu())

    model = Headed()
    optimizer = sgd(model)
    plugin = avalanche.TaskMemoryPlugin(ls.TaskMemory(model, "trunk", method=EWC("empirical"), strength=1.0))
    for number in range(2):
        inputs, labels = task(number)
        experience = types.SimpleNamespace(dataset=[(x, int(y), number) for x, y in zip(inputs, labels, strict=True)])
        strategy = types.SimpleNamespace(model=model, optimizer=optimizer, _criterion=CRITERION, experience=experience)
        plugin.before_training_exp(strategy)
        learn(
            lambda x, number=number: model(x, torch.tensor([number])),
            optimizer,
            (inputs, labels),
            20,
            torch.Generator(),
        )
        w = plugin.memory.space.flatten(model)
        told = DataLoader(TensorDataset(inputs, torch.full((len(labels),), number), labels), batch_size=64)
        risk = ls.EmpiricalRisk(model, CRITERION, told, space=plugin.memory.space)
        expected = ls.penalties.elastic_weight_consolidation(risk, w, fisher="empirical")
        before = plugin.memory.held
        plugin.after_training_exp(strategy)
        added = plugin.memory.held(w + 0.1) - (before(w + 0.1) if before else 0.0)
        assert float(added) == pytest.approx(float(expected(w + 0.1)), rel=1e-4)


@pytest.mark.parametrize("loop", [under_lightning, under_hugging_face, under_avalanche])
def test_the_first_task_is_preserved_under_every_framework(loop, tmp_path):
    """Without a memory its accuracy falls to 0.71: tests/memory/test_task_memory.py."""
    model = loop(folder=tmp_path)
    assert accuracy(model, task(0)) > 0.95
    assert accuracy(model, task(1)) > 0.75


def memory_of(model):
    return ls.TaskMemory(model, n_modes=5, window=30, method="ldc")


def test_a_hugging_face_training_resumed_in_a_task_gives_the_same_bits(tmp_path):
    weights, held = [], []
    for stop in (None, 25):
        model = Classifier()
        memory = memory_of(model.network)
        folder = tmp_path / str(stop)
        hugging_face_trainer(model, 0, folder, huggingface.TaskMemoryCallback(memory), steps=40).train()
        memory.consolidate(CRITERION, task(0))
        options = {"save_strategy": "steps", "save_steps": 25}
        callback = huggingface.TaskMemoryCallback(memory)
        first = hugging_face_trainer(model, 1, folder, callback, steps=stop or 40, **options)
        first.train()
        if stop is not None:
            model = Classifier()
            memory = memory_of(model.network)
            again = hugging_face_trainer(model, 1, folder, huggingface.TaskMemoryCallback(memory), steps=40, **options)
            again.train(resume_from_checkpoint=str(folder / "checkpoint-25"))
        memory.consolidate(CRITERION, task(1))
        weights.append(memory.space.flatten(model.network))
        held.append(memory.held)
    assert torch.equal(*weights)
    assert torch.equal(held[0](weights[0] + 0.1), held[1](weights[0] + 0.1))


def test_a_checkpoint_is_told_from_others_by_its_weights_and_may_lie_anywhere(tmp_path):
    """Two runs; one is resumed from the other's checkpoint, moved, or in another folder of results."""
    options = {"save_strategy": "steps", "save_steps": 5}
    held = {}
    for number, name in enumerate("ab"):
        model = Classifier()
        memory = memory_of(model.network)
        callback = huggingface.TaskMemoryCallback(memory)
        hugging_face_trainer(model, number, tmp_path / f"{name}-first", callback, steps=40).train()
        held[name] = memory.consolidate(CRITERION, task(number))
        hugging_face_trainer(model, 1 - number, tmp_path / name, callback, steps=5, **options).train()
    best = (tmp_path / "a" / "checkpoint-5").rename(tmp_path / "a" / "best")

    def resumed(output, resume_from=None):
        model = Classifier()
        memory = memory_of(model.network)
        callback = huggingface.TaskMemoryCallback(memory, resume_from)
        trainer = hugging_face_trainer(model, 1, tmp_path / output, callback, steps=8, **options)
        trainer.train(resume_from_checkpoint=str(best))
        return memory.held

    for found in (resumed("a"), resumed("b", best), resumed("new", best)):
        assert torch.equal(found.anchor, held["a"].anchor)
    with pytest.raises(InputError, match=r"no memory saved at these weights in .*resume_from"):
        resumed("b")
    (kept,) = best.glob("landscope_task_memory-*")
    kept.write_bytes(kept.read_bytes()[:100])
    with pytest.raises(StorageError, match=r"landscope_task_memory.*damaged"):
        resumed("a", best)


def test_a_memory_of_a_trainer_that_broke_off_can_be_used_again(tmp_path):
    class Stops(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 35:
                raise KeyboardInterrupt

    model = Classifier()
    memory = memory_of(model.network)
    callback = huggingface.TaskMemoryCallback(memory)
    for again in (callback, huggingface.TaskMemoryCallback(memory)):  # this one, or a new one of the same memory
        with pytest.raises(KeyboardInterrupt):
            hugging_face_trainer(model, 0, tmp_path, again, Stops(), steps=40).train()
    with pytest.raises(InputError, match=r"call close\(\) of its callback"):
        memory.consolidate(CRITERION, task(0))
    callback.close()
    memory.consolidate(CRITERION, task(0))
    assert memory.n_tasks == 1


def test_a_lightning_training_resumed_in_a_task_gives_the_same_bits(tmp_path):
    """A stop of one epoch; Lightning's own checkpoint carries the memory."""

    def trainer(memory, epochs):
        return lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
            callbacks=[pl.TaskMemoryCallback(memory)], default_root_dir=tmp_path, enable_checkpointing=False,
        )  # fmt: skip

    def data():
        return DataLoader(TensorDataset(*task(1)), batch_size=16)

    def begun():
        model = Lit()
        memory = memory_of(model.network)
        lightning_trainer(pl.TaskMemoryCallback(memory), steps=40, root=tmp_path).fit(model, loader(0))
        memory.consolidate(CRITERION, task(0))
        return model, memory

    model, memory = begun()
    trainer(memory, 4).fit(model, data())
    stopped, at_stop = begun()
    first = trainer(at_stop, 2)
    first.fit(stopped, data())
    first.save_checkpoint(tmp_path / "stop.ckpt", weights_only=False)
    gone_on = Lit()
    resumed = memory_of(gone_on.network)
    trainer(resumed, 4).fit(gone_on, data(), ckpt_path=tmp_path / "stop.ckpt", weights_only=False)
    assert torch.equal(memory.space.flatten(model.network), resumed.space.flatten(gone_on.network))
    ours, theirs = memory.state_dict(), resumed.state_dict()
    assert torch.equal(ours["rows"]["weights"], theirs["rows"]["weights"])
    assert ours["rows"]["steps"].tolist() == theirs["rows"]["steps"].tolist()


def test_a_checkpoint_that_is_only_tested_leaves_the_memory_as_it_is(tmp_path):
    class Tested(Lit):
        def test_step(self, batch):
            self.log("loss", CRITERION(self.network(batch[0]), batch[1]))

    model = Tested()
    memory = ls.TaskMemory(model.network, method="l2", strength=1.0)
    trainer = lightning_trainer(pl.TaskMemoryCallback(memory), steps=20)
    trainer.fit(model, loader(0))
    trainer.save_checkpoint(tmp_path / "in.ckpt")
    memory.consolidate(CRITERION, task(0))
    trainer.test(model, loader(0), ckpt_path=tmp_path / "in.ckpt", verbose=False, weights_only=False)
    assert memory.n_tasks == 1
    assert memory.held is not None


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning")
def test_a_lightning_training_resumed_without_its_memory_is_refused(tmp_path):
    model = Lit()
    trainer = lightning_trainer(pl.TaskMemoryCallback(ls.TaskMemory(model, method="l2", strength=1.0)), steps=4)
    trainer.fit(model, loader(0))
    trainer.save_checkpoint(tmp_path / "in.ckpt")
    other = ls.TaskMemory(model.network, method="l2", strength=1.0)
    resumed = lightning_trainer(pl.TaskMemoryCallback(other), steps=8)
    with pytest.raises(InputError, match=r"a checkpoint with a memory of 0\.weight"):
        resumed.fit(model, loader(0), ckpt_path=tmp_path / "in.ckpt", weights_only=False)


def test_the_memories_of_two_parts_resume_from_one_checkpoint(tmp_path):
    """Each holds one layer."""

    def parts(model):
        return [ls.TaskMemory(model.network, layer, n_modes=5, window=30, method="ldc") for layer in ("2", "4")]

    def lightning_of(memories, epochs):
        trainer = lightning_trainer(*map(pl.TaskMemoryCallback, memories), steps=-1, root=tmp_path)
        trainer.fit_loop.max_epochs = epochs
        return trainer

    options = {"save_strategy": "steps", "save_steps": 5}
    model = Lit()
    kept = parts(model)
    trainer = lightning_of(kept, 1)
    trainer.fit(model, loader(0))
    trainer.save_checkpoint(tmp_path / "stop.ckpt", weights_only=False)
    again = Lit()
    resumed = parts(again)
    lightning_of(resumed, 1).fit(again, loader(0), ckpt_path=tmp_path / "stop.ckpt", weights_only=False)
    for before, after in zip(kept, resumed, strict=True):
        assert torch.equal(before.state_dict()["rows"]["weights"], after.state_dict()["rows"]["weights"])

    model = Classifier()
    kept = parts(model)
    callbacks = [huggingface.TaskMemoryCallback(memory) for memory in kept]
    hugging_face_trainer(model, 0, tmp_path, *callbacks, steps=5, **options).train()
    again = Classifier()
    resumed = parts(again)
    callbacks = [huggingface.TaskMemoryCallback(memory) for memory in resumed]
    last = hugging_face_trainer(again, 0, tmp_path, *callbacks, steps=6, **options)
    last.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    for before, after in zip(kept, resumed, strict=True):
        rows = after.state_dict()["rows"]["weights"]
        assert torch.equal(before.state_dict()["rows"]["weights"], rows[:5])
        assert len(rows) == 6


def test_a_memory_of_another_model_and_a_checkpoint_without_one_are_refused(tmp_path):
    memory = ls.TaskMemory(network(), method="ldc")
    with pytest.raises(InputError, match="the model of the memory"):
        lightning_trainer(pl.TaskMemoryCallback(memory), steps=2, root=tmp_path).fit(Lit(), loader(0))
    with pytest.raises(InputError, match="the model of the memory"):
        hugging_face_trainer(Classifier(), 0, tmp_path, huggingface.TaskMemoryCallback(memory), steps=2).train()
    options = {"save_strategy": "steps", "save_steps": 2}
    model = Classifier()
    hugging_face_trainer(model, 0, tmp_path / "bare", steps=2, **options).train()
    callback = huggingface.TaskMemoryCallback(ls.TaskMemory(model, method="ldc"))
    with pytest.raises(InputError, match="the memory of the checkpoint"):
        hugging_face_trainer(model, 0, tmp_path / "bare", callback, steps=4, **options).train(
            resume_from_checkpoint=str(tmp_path / "bare" / "checkpoint-2")
        )
