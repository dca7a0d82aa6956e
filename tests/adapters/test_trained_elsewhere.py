"""Models that other Trainers trained are analysed by the same calls, with the same numbers as by hand."""

import copy
import math

import lightning
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

import landscope as ls
from landscope.adapters import huggingface
from landscope.adapters import lightning as adapter

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
]
WORDS, LENGTH, TEXTS = 13, 7, 24


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """A tiny GPT-2 trained by its Trainer on texts of several lengths: padding does not count."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=WORDS, n_positions=LENGTH, n_embd=8, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    texts = []
    for number in range(TEXTS):
        tokens, kept = torch.randint(WORDS, (LENGTH,)), LENGTH - number % 3
        mask = (torch.arange(LENGTH) < kept).long()
        labels = torch.where(mask.bool(), tokens, -100)
        texts.append({"input_ids": tokens, "attention_mask": mask, "labels": labels})
    recorder = huggingface.RecorderCallback(select="*.mlp.c_fc")
    arguments = TrainingArguments(
        str(tmp_path_factory.mktemp("gpt2")), max_steps=30, per_device_train_batch_size=5, save_strategy="no",
        report_to=[], disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False, learning_rate=1e-2,
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=texts, callbacks=[recorder])
    trainer.train()
    return model, recorder, trainer, texts


def test_a_language_model_is_analysed_token_by_token(language):
    model, recorder, trainer, texts = language
    risk = ls.EmpiricalRisk(
        model, huggingface.language_model_losses, trainer.get_train_dataloader(), space=recorder.space
    )
    window = recorder.trajectory()
    assert len(window) == 30
    assert torch.equal(window.row(-1), risk.w0)
    twin = copy.deepcopy(model).double().eval().requires_grad_(False)
    twin.config._attn_implementation = "eager"
    batch = {name: torch.stack([text[name] for text in texts]) for name in texts[0]}

    def exact(w):
        """transformers' own loss of all texts at once: a mean over the tokens that count."""
        return torch.func.functional_call(twin, recorder.space.unflatten(w), (), batch).loss

    w = risk.w0.double().requires_grad_()
    assert float(risk(risk.w0)) == pytest.approx(exact(w).item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(exact(w), w, create_graph=True)
    torch.testing.assert_close(
        risk.gradient(risk.w0).double(), gradient.detach(), rtol=0, atol=1e-5 * gradient.detach().norm().item()
    )
    modes = ls.principal_modes(window, 4)
    direction = modes.directions[0]
    (product,) = torch.autograd.grad(gradient @ direction, w)
    found = risk.hessian_vector_product(risk.w0, direction.float()).double()
    assert float((found - product).norm() / product.norm()) < 1e-4
    widths = ls.flatness(risk, risk.w0, modes.directions, ratio=1.02)
    row = int(widths.bracketed.nonzero()[0])
    for side in (widths.left, widths.right):
        rise = torch.log(exact(w.detach() + side[row] * modes.directions[row]) / exact(w.detach()))
        assert float(rise) == pytest.approx(math.log(1.02), rel=5e-3)


def test_the_trainers_model_is_left_as_it_was(language):
    model, recorder, trainer, _ = language
    before = {name: value.clone() for name, value in model.state_dict().items()}
    was_training, state = model.training, torch.get_rng_state()
    risk = ls.EmpiricalRisk(
        model, huggingface.language_model_losses, trainer.get_eval_dataloader(trainer.train_dataset),
        space=recorder.space,
    )  # fmt: skip
    risk.gradient(risk.w0)
    assert model.training == was_training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, x):
        return self.layers(x)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def test_a_lightning_module_is_analysed(tmp_path):
    torch.manual_seed(0)
    data = DataLoader(TensorDataset(torch.randn(40, 4), torch.randint(0, 3, (40,))), batch_size=10)
    module, recorder = Module(), adapter.RecorderCallback(select="layers.3")
    lightning.Trainer(
        max_epochs=8, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, callbacks=[recorder],
    ).fit(module, data)  # fmt: skip
    risk = ls.EmpiricalRisk(module, F.cross_entropy, data, space=recorder.space)
    twin = copy.deepcopy(module).double().eval()
    inputs, labels = data.dataset.tensors
    assert float(risk(risk.w0)) == pytest.approx(F.cross_entropy(twin(inputs.double()), labels).item(), rel=1e-6)
    window = recorder.trajectory()
    assert len(window) == 32
    assert ls.flatness(risk, risk.w0, ls.principal_modes(window, 3).directions).bracketed.any()
