"""Two processes that train one model: the first measures, the weights are the same bits, and parts are refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import torch, torch.distributed as dist, landscope as ls, sharded_models as sm
dist.init_process_group("gloo")

def risk(model):
    return ls.EmpiricalRisk(model, torch.nn.CrossEntropyLoss(), (sm.INPUTS, sm.LABELS))

def trained(monitored):
    model = torch.nn.parallel.DistributedDataParallel(sm.network())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if monitored:
        with ls.Monitor(model, optimizer, risk(model.module), batch_size=8, every=2) as monitor:
            sm.train(model, optimizer)
        assert len(monitor.history.steps) == (6 if dist.get_rank() == 0 else 0)
    else:
        sm.train(model, optimizer)
    return ls.ParameterSpace.of(model).flatten(model)

assert torch.equal(trained(False), trained(True))
model = sm.fully_sharded(sm.network())
try:
    ls.Monitor(model, torch.optim.SGD(model.parameters(), lr=0.1), risk(sm.network()), batch_size=8)
except ls.errors.InputError as error:
    assert "as a whole" in str(error)
    print("refused")
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_the_first_process_measures(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    paths = {"PYTHONPATH": ":".join([*filter(None, sys.path), str(Path(__file__).parents[1])])}
    done = subprocess.run(
        [*command, str(tmp_path / "script.py")], env={**os.environ, **paths}, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("refused") == 2
