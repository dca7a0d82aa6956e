"""FSDP2 under Lightning and accelerate, in two processes of torchrun, as their users start it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not dist.is_available(), reason="torch without processes"),
]
COMMON = """
import sys, torch, warnings
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, TensorDataset
import landscope as ls
torch.manual_seed(0)
inputs = torch.randn(400, 8)
labels = (inputs[:, 0] > 0).long()
loader = DataLoader(TensorDataset(inputs, labels), batch_size=20, shuffle=True)
loss = nn.functional.cross_entropy
net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
def shard(net, **settings):
    for layer in (net[0], net[2]):
        fully_shard(layer, **settings)
    fully_shard(net, **settings)
"""
LIGHTNING = """
import lightning
from lightning.pytorch.strategies import ModelParallelStrategy
from landscope.adapters.lightning import RecorderCallback, TaskMemoryCallback
class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = net
    def configure_model(self):
        if not any(hasattr(p, "full_tensor") for p in self.net.parameters()):
            shard(self.net, mesh=self.device_mesh["data_parallel"])
    def training_step(self, batch, _):
        return loss(self.net(batch[0]), batch[1])
    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)
def fit(module, epochs, callback):
    trainer = lightning.Trainer(
        accelerator="cpu", devices=2, strategy=ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1),
        max_epochs=epochs, callbacks=[callback], logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader)
    return trainer.global_rank
module = Module()
rank = fit(module, 3, RecorderCallback(path=sys.argv[1]))
trained = torch.cat([p.detach().full_tensor().flatten() for p in net.parameters()])
memory = ls.TaskMemory(module.net, method="l2", strength=1.0)
memory.consolidate(loss, (inputs, labels))
rows = ls.open_trajectory(sys.argv[1])
assert rows.holds(29, trained)
fit(module, 1, TaskMemoryCallback(memory))
print(f"rank {rank}: {len(rows)} rows, penalty {memory.penalty().item():.9e}\\n", end="")
"""
ACCELERATE = """
from accelerate import Accelerator
accelerator = Accelerator(cpu=True)
shard(net)
optimizer, loader = accelerator.prepare(torch.optim.AdamW(net.parameters(), lr=0.01), loader)
def train(epochs):
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            accelerator.backward(loss(net(x), y))
            optimizer.step()
with ls.TrajectoryRecorder(net, optimizer, path=sys.argv[1]):
    train(3)
trained = torch.cat([p.detach().full_tensor().flatten() for p in net.parameters()])
rows = ls.open_trajectory(sys.argv[1])
assert rows.holds(29, trained)
memory = ls.keep(net, loss, loader)
with memory.training(optimizer):
    train(1)
print(f"rank {accelerator.process_index}: {len(rows)} rows, penalty {memory.penalty().item():.9e}\\n", end="")
"""


@pytest.mark.parametrize("own", [LIGHTNING, ACCELERATE], ids=["lightning", "accelerate"])
def test_rows_are_those_of_the_gathered_weights_and_ranks_hold_the_same(own, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(COMMON + own)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script),
         str(tmp_path / "rows")],
        capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = sorted(line for line in done.stdout.splitlines() if line.startswith("rank "))
    assert [line.partition(":")[0] for line in lines] == ["rank 0", "rank 1"]
    assert lines[0].partition(":")[2] == lines[1].partition(":")[2]
    assert " 30 rows" in lines[0]
