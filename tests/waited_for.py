"""What the host waits for in steps and measurements on a pretended GPU; each function runs in a process of its own."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import landscope as ls
from landscope.recorder.transfer import Transfer
from pretend_device import pretended_device, waits

warnings.simplefilter("ignore")
torch.set_num_threads(1)
# As on a CUDA device: its copies to the host arrive later, and nothing waits for them.
Transfer._begun = staticmethod(lambda tensor: tensor.to("cpu", non_blocking=True))

OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "SGD": lambda model: torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
    "SGD, a rate a tensor": lambda model: torch.optim.SGD(
        [{"params": [p], "lr": 0.01 * (n + 1)} for n, p in enumerate(model.parameters())]
    ),
    "AdamW": lambda model: torch.optim.AdamW(model.parameters(), lr=1e-3),
    "AdamW, fused": lambda model: torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True),
    "RMSprop": lambda model: torch.optim.RMSprop(model.parameters(), lr=1e-3),
}


def network(device: torch.device | str = "cpu") -> nn.Sequential:
    torch.manual_seed(0)
    widths = (16, 24, 24, 5)
    layers = [part for n, m in itertools.pairwise(widths) for part in (nn.Linear(n, m), nn.ReLU())]
    return nn.Sequential(*layers[:-1]).to(device)


def samples(device: torch.device | str = "cpu", seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(200, 16, generator=generator).to(device), torch.randint(5, (200,), generator=generator).to(
        device
    )


def gradient(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Tensor) -> Tensor:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(inputs), targets)
    loss.backward()
    return loss


def snippets() -> dict[str, int]:
    """Waits in single operations, for the tool itself."""
    with pretended_device() as device:
        a, on_host = torch.arange(3.0, device=device), torch.arange(3.0)
        mask, places = a > 1, torch.tensor([0, 2]).to(device)
        net, row = network(device), torch.zeros(2, 3, device=device)
        optimizer = torch.optim.AdamW(net.parameters())
        inputs, targets = samples(device)

        def written() -> None:
            torch.cat([a[:1], a[1:]], out=row[1])
            assert row.tolist()[1] == [0.0, 1.0, 2.0]

        def mixed() -> None:
            with pytest.raises(RuntimeError, match="same device"):
                a + on_host

        asked: dict[str, Callable[[], object]] = {
            "add": lambda: (a + 1) * a.sum(), "compare": lambda: torch.where(a > 1, a, 0.0), "mixed": mixed,
            "made there": lambda: torch.randn(3, device=device) + torch.full((3,), 2.0, device=device),
            "a number of the host": lambda: a + torch.tensor(2.0), "places": lambda: a[places],
            "a later copy": lambda: (a.to("cpu", non_blocking=True), on_host.to(device, non_blocking=True)),
            "train": lambda: (gradient(net, optimizer, inputs, targets), optimizer.step()),
            "vmap": lambda: torch.func.vmap(lambda v: (v * a).sum())(row),
            "jvp": lambda: torch.func.jvp(lambda v: v.square().sum(), (a,), (a,)),
            "float": lambda: float(a.sum()), "bool": lambda: bool(mask.all()), "item": lambda: a[0].item(),
            "tolist": a.tolist, "cpu": a.cpu, "to device": lambda: on_host.to(device),
            "copy": lambda: on_host.clone().copy_(a), "tensor": lambda: torch.tensor([1.0], device=device),
            "mask": lambda: a[mask], "places of the host": lambda: a[torch.tensor([0])],
            "equal": lambda: torch.equal(a, a),
            "nonzero": mask.nonzero, "unique": lambda: a.unique(), "written": written,
            "eigenvectors": lambda: torch.linalg.eigh(torch.eye(2, device=device)),
            "solve": lambda: torch.linalg.solve(torch.eye(3, device=device), a[:, None]),
        }  # fmt: skip
        counts = {}
        for name, ask in asked.items():
            with waits() as found:
                ask()
            counts[name] = len(found)
        return counts


def recorded_steps() -> list[int]:
    """Waits in each recorded step."""
    with pretended_device() as device:
        model, (inputs, targets), counts = network(device), samples(device), []
        optimizer = OPTIMIZERS["SGD"](model)
        with ls.TrajectoryRecorder(model, optimizer) as recorder:
            for _ in range(20):
                loss = gradient(model, optimizer, inputs, targets)
                with waits() as found:
                    recorder.note_loss(loss)
                    optimizer.step()
                counts.append(len(found))
        assert torch.equal(recorder.trajectory().row(-1), recorder.space.flatten(model).cpu())
        return counts


def held_steps(method: str, optimizer_name: str) -> tuple[list[int], str, float]:
    """Waits in each held step of the last task, a table of the last one; and how far the weights are from the CPU's."""
    with pretended_device() as device:
        counts, table, here = _held(device, method, optimizer_name)
    _, _, there = _held(torch.device("cpu"), method, optimizer_name)
    return counts, table, float((here - there).norm() / there.norm())


def _held(device: torch.device, method: str, optimizer_name: str) -> tuple[list[int], str, Tensor]:
    model, counts, found = network(device), [], []
    optimizer = OPTIMIZERS[optimizer_name](model)
    strength = None if method in ("basin", "ldc") else 10.0
    memory = ls.TaskMemory(model, method=method, strength=strength, n_modes=8, window=60)
    last = 1 if method == "basin" else 2
    for task in range(last + 1):
        inputs, targets = samples(device, task)
        with memory.training(optimizer):
            for _ in range(25):
                gradient(model, optimizer, inputs[:50], targets[:50])
                with waits() as found:
                    optimizer.step()
                counts.append(len(found))
        if task < last:
            memory.consolidate(nn.CrossEntropyLoss(), (inputs, targets))
    return counts[-25:], found.table(), torch.cat([p.detach().cpu().flatten() for p in model.parameters()])


def flatness_waits(kind: str, n_batches: int) -> tuple[int, str, float]:
    """Waits in a flatness of 16 directions, their table, and the largest relative distance from widths on the CPU."""
    with pretended_device() as device:
        count, table, here = _flatness(device, kind, n_batches)
    _, _, there = _flatness(torch.device("cpu"), kind, n_batches)
    return count, table, float((here / there - 1).abs().max())


def _flatness(device: torch.device, kind: str, n_batches: int) -> tuple[int, str, Tensor]:
    model, (inputs, targets) = network(device), samples(device)
    if kind == "a sketch":
        targets = torch.cat([targets[:4], model(inputs[4:]).argmax(1)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(300 if kind == "a sketch" else 60):
        gradient(model, optimizer, inputs, targets)
        optimizer.step()
    if kind == "a sketch":
        targets = torch.cat([(targets[:4] + 1) % 5, targets[4:]])
    batches = [(inputs[n::n_batches], targets[n::n_batches]) for n in range(n_batches)]
    space = ls.ParameterSpace.of(model, "2.weight" if kind == "a layer" else None)
    if kind == "a closure":
        risk = ls.EmpiricalRisk.from_closure(model, _losses, batches, space=space)
    else:
        risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), batches, space=space)
    steps = torch.randn(risk.space.dim, 16, generator=torch.Generator().manual_seed(1))
    directions = torch.linalg.qr(steps).Q.T.contiguous()
    with waits() as found:
        width = ls.flatness(risk, risk.w0, directions).width
    return len(found), found.table(), width


def _losses(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")
