"""Losses of sequences without alignment, losses that differentiate by their inputs, and batches of graphs."""

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import landscope as ls
from models.second.kind import Kind

MADE = torch.Generator().manual_seed(6)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=MADE)


# 18: connectionist temporal classification. Symbols 1 and 2, blank 0, at most two symbols in four frames.
def spoken() -> tuple[Tensor, dict[str, Tensor]]:
    lengths = torch.randint(1, 3, (6,), generator=MADE)
    labels = torch.randint(1, 3, (6, 2), generator=MADE)
    return drawn(6, 4, 3), {"labels": labels, "lengths": lengths, "frames": torch.full((6,), 4)}


def alignments(outputs: Tensor, targets: dict[str, Tensor]) -> Tensor:
    log_probabilities = outputs.log_softmax(dim=-1).transpose(0, 1)
    losses = F.ctc_loss(log_probabilities, targets["labels"], targets["frames"], targets["lengths"], reduction="none")
    return losses / targets["lengths"]


def alignments_by_hand(model: nn.Module, batch: tuple[Tensor, dict[str, Tensor]], number: int) -> Tensor:
    """-ln of the summed probability of all paths that become the label without repetitions and blanks."""
    losses = []
    for frames, label, length in zip(batch[0], batch[1]["labels"], batch[1]["lengths"], strict=True):
        p, total = model(frames[None])[0].softmax(dim=-1), 0
        for path in itertools.product(range(3), repeat=4):
            short = [symbol for symbol, _ in itertools.groupby(path) if symbol]
            if short == label[:length].tolist():
                total = total + p[range(4), path].prod()
        losses.append(-total.log() / length)
    return torch.stack(losses)


SPOKEN = [spoken() for _ in range(4)]
CTC = Kind(
    name="CTC", model=lambda: nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 3)), batches=SPOKEN,
    losses=alignments_by_hand, train=lambda model, batch: alignments(model(batch[0]), batch[1]).mean(),
    risk=lambda model: ls.EmpiricalRisk(model, alignments, SPOKEN),
    noise=6, method="ewc", consolidate=lambda memory, _: memory.consolidate(alignments, SPOKEN), ratio=1.5,
)  # fmt: skip


# 19: a differential equation, u'' = -u with u(0) = 1; each batch has the boundary once for each of its points.
def sine_network() -> nn.Module:
    return nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1))


def residual(model: nn.Module, x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    u = model(x)
    slope = torch.autograd.grad(u.sum(), x, create_graph=True)[0]
    curvature = torch.autograd.grad(slope.sum(), x, create_graph=True)[0]
    boundary = model(torch.zeros_like(x)) - 1
    return ((curvature + u).square() + boundary.square()).squeeze(1)


def residual_by_hand(model: nn.Module, x: Tensor, number: int) -> Tensor:
    """u = a tanh(b x + c) + d, with tanh'' = -2 tanh (1 - tanh^2)."""
    b, c, a, d = model[0].weight.T, model[0].bias, model[2].weight, model[2].bias
    hidden = torch.tanh(x * b + c)
    u, curvature = hidden @ a.T + d, (-2 * hidden * (1 - hidden**2) * b**2) @ a.T
    return ((curvature + u) ** 2 + (torch.tanh(c) @ a.T + d - 1) ** 2).squeeze(1)


PLACES = torch.linspace(0, 3, 32)[:, None][torch.randperm(32, generator=MADE)].split(8)
PINN = Kind(
    name="physics-informed", model=sine_network, batches=list(PLACES), losses=residual_by_hand,
    train=lambda model, x: residual(model, x).mean() / 4,
    risk=lambda model: ls.EmpiricalRisk.from_closure(model, residual, PLACES),
    noise=8,
)  # fmt: skip


# 20: forces from an energy of the distances of three atoms.
class Potential(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair = nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1))

    def forward(self, places: Tensor) -> dict[str, Tensor]:
        places = places.detach().requires_grad_()
        apart = torch.stack([(places[:, i] - places[:, j]).norm(dim=1) for i, j in ((0, 1), (0, 2), (1, 2))])
        energy = self.pair(apart[..., None]).sum(dim=(0, 2))
        forces = -torch.autograd.grad(energy.sum(), places, create_graph=True)[0]
        return {"energy": energy, "forces": forces}


def matching(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    forces = (outputs["forces"] - targets["forces"]).square().mean(dim=(1, 2))
    return forces + 0.1 * (outputs["energy"] - targets["energy"]).square()


def matching_by_hand(model: nn.Module, batch: tuple[Tensor, dict[str, Tensor]], number: int) -> Tensor:
    """The force of a pair is -e'(r) along the line between its atoms, with e = a tanh(b r + c) + d."""
    b, c, a, d = model.pair[0].weight[:, 0], model.pair[0].bias, model.pair[2].weight[0], model.pair[2].bias[0]
    losses = []
    for places, forces, energy in zip(batch[0], batch[1]["forces"], batch[1]["energy"], strict=True):
        total, found = 0, [0, 0, 0]
        for i, j in ((0, 1), (0, 2), (1, 2)):
            line = places[i] - places[j]
            hidden = torch.tanh(b * line.norm() + c)
            total = total + a @ hidden + d
            pull = -(a * b) @ (1 - hidden**2) * line / line.norm()
            found[i], found[j] = found[i] + pull, found[j] - pull
        losses.append(((torch.stack(found) - forces) ** 2).mean() + 0.1 * (total - energy) ** 2)
    return torch.stack(losses)


def molecules() -> tuple[Tensor, dict[str, Tensor]]:
    return 2 * drawn(6, 3, 2), {"forces": 0.3 * drawn(6, 3, 2), "energy": drawn(6)}


MOLECULES = [molecules() for _ in range(4)]
FORCES = Kind(
    name="force matching", model=Potential, batches=MOLECULES, losses=matching_by_hand,
    train=lambda model, batch: matching(model(batch[0]), batch[1]).mean(),
    risk=lambda model: ls.EmpiricalRisk(model, matching, MOLECULES),
    noise=6, consolidate=lambda memory, _: memory.consolidate(matching, MOLECULES), ratio=1.5,
)  # fmt: skip


# 21: graphs of unlike sizes, joined into one batch: nodes, edges, and the number of the graph of each node.
class GraphNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 5), nn.Linear(5, 1)

    def forward(self, nodes: Tensor, edges: Tensor, graph: Tensor) -> Tensor:
        sent = nodes.index_add(0, edges[1], nodes[edges[0]])
        hidden = torch.tanh(self.one(sent))
        pooled = hidden.new_zeros(int(graph.max()) + 1, 5).index_add(0, graph, hidden)
        return self.two(pooled).squeeze(1)


def graphs() -> dict[str, Tensor]:
    sizes = torch.randint(2, 5, (5,), generator=MADE).tolist()
    starts = [sum(sizes[:place]) for place in range(5)]
    rings = [
        [(first + k, first + (k + 1) % size) for k in range(size)] for first, size in zip(starts, sizes, strict=True)
    ]
    return {
        "nodes": drawn(sum(sizes), 3), "edges": torch.tensor([edge for ring in rings for edge in ring]).T,
        "graph": torch.repeat_interleave(torch.arange(5), torch.tensor(sizes)), "y": drawn(5),
    }  # fmt: skip


def graph_error(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return F.mse_loss(model(batch["nodes"], batch["edges"], batch["graph"]), batch["y"])


def graph_errors_by_hand(model: nn.Module, batch: dict[str, Any], number: int) -> Tensor:
    """One graph after another, one node after another."""
    losses = []
    for graph, y in enumerate(batch["y"]):
        pooled = 0
        for node in (batch["graph"] == graph).nonzero().flatten().tolist():
            sent = batch["nodes"][node] + sum(batch["nodes"][i] for i, j in batch["edges"].T.tolist() if j == node)
            pooled = pooled + torch.tanh(model.one.weight @ sent + model.one.bias)
        losses.append((model.two.weight[0] @ pooled + model.two.bias[0] - y) ** 2)
    return torch.stack(losses)


GRAPHS = [graphs() for _ in range(4)]
GRAPH = Kind(
    name="graphs", model=GraphNetwork, batches=GRAPHS, losses=graph_errors_by_hand,
    train=lambda model, batch: 0.3 * graph_error(model, batch),
    risk=lambda model: ls.EmpiricalRisk.from_closure(model, graph_error, GRAPHS, count=lambda batch: len(batch["y"])),
    noise=None,
)  # fmt: skip

KINDS = [CTC, PINN, FORCES, GRAPH]
