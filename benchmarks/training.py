"""Training with recording, against bare loops; and ten seeds together against one after another."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import landscope as ls
from benchmarks.measure import Row, in_turns, ratio, seconds
from benchmarks.subject import LAYER, Subject
from landscope.reproduction.experiment.networks import mlp
from landscope.reproduction.experiment.training import train
from landscope.sampling import MinibatchOrder

__all__ = ["training"]

_REPEATS = 5
_BATCH = 50
_SEEDS = 10
_SIZES = [784, 50, 50, 10]
_NO_FETCH = "one minibatch again and again (no data to fetch)"
_TRAINER = "landscope.reproduction.experiment.training.train"
Data = tuple[Tensor, Tensor]


def training(subject: Subject) -> list[Row]:
    """Microseconds a step of the paper's network."""
    data = subject.data
    order = MinibatchOrder(len(data[0]), _BATCH)
    steps = order.batches_per_epoch
    model = subject.model
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    weight = dict(model.named_parameters())[LAYER]

    def loop(batches: Iterable[tuple[Tensor, Tensor]], after: Callable[[], object] = lambda: None) -> None:
        for inputs, targets in batches:
            loss = nn.functional.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            after()

    def bare(after: Callable[[], object] = lambda: None) -> None:
        loop(((data[0][batch], data[1][batch]) for batch in order.epoch(0)), after)

    def copied() -> None:
        rows: list[Tensor] = []
        bare(lambda: rows.append(weight.detach().clone()))

    def recorded(path: str | None) -> None:
        with ls.TrajectoryRecorder(model, optimizer, select=LAYER, path=path):
            bare()

    with tempfile.TemporaryDirectory() as folder:
        fresh = iter(range(10**6))
        times = in_turns(
            {
                "bare loop": bare,
                _NO_FETCH: lambda: loop([(data[0][:_BATCH], data[1][:_BATCH])] * steps),
                "DataLoader loop": lambda: loop(DataLoader(TensorDataset(*data), batch_size=_BATCH, shuffle=True)),
                _TRAINER: lambda: next(train(model, nn.functional.cross_entropy, data, optimizer, order)),
                "bare loop with a copy of the weights": copied,
                "bare loop recorded in memory": lambda: recorded(None),
                "bare loop recorded to disk": lambda: recorded(f"{folder}/{next(fresh)}"),
            },
            _REPEATS,
        )
    each = {name: [1e6 * t / steps for t in taken] for name, taken in times.items()}
    rows = [Row.of(f"step: {name}", "us", taken) for name, taken in each.items()]
    loader = each["DataLoader loop"]
    limit = "what no trainer of a torch model and optimiser can pass"
    rows += [
        Row.of("DataLoader loop / landscope's trainer", "x", ratio(loader, each[_TRAINER])),
        Row.of("DataLoader loop / no data to fetch", "x", ratio(loader, each[_NO_FETCH]), limit),
        *_alone(model, optimizer, weight, steps),
    ]
    return [*rows, *_ten_seeds(data)]


def _alone(model: nn.Module, optimizer: torch.optim.Optimizer, weight: Tensor, steps: int) -> list[Row]:
    """What a copy and a record cost by themselves: the difference of two loops is mostly noise."""

    def copies() -> None:
        torch.stack([weight.detach().clone() for _ in range(steps)])

    def records() -> None:
        with ls.TrajectoryRecorder(model, optimizer, select=LAYER) as recorder:
            for _ in range(steps):
                recorder._after_step()
        assert len(recorder.trajectory()) == steps

    times = in_turns({"copy": copies, "record": records}, _REPEATS)
    each = {name: [1e6 * t / steps for t in taken] for name, taken in times.items()}
    return [
        Row.of("a copy of the weights, joined at the end", "us", each["copy"]),
        Row.of("a record in memory", "us", each["record"]),
        Row.of("record / copy", "x", ratio(each["record"], each["copy"])),
    ]


def _one_seed(data: Data, seed: int) -> None:
    model = mlp(_SIZES, seed=seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    order = MinibatchOrder(len(data[0]), _BATCH, seed=seed)
    next(train(model, nn.functional.cross_entropy, data, optimizer, order))


def _in_one_batch(data: Data) -> None:
    """All seeds in one batched pass, by vmap over stacked parameters."""
    models = [mlp(_SIZES, seed=seed) for seed in range(_SEEDS)]
    stacked, _ = torch.func.stack_module_state(models)  # type: ignore[arg-type]
    names = list(stacked)
    weights = [stacked[name].detach().requires_grad_() for name in names]
    orders = [MinibatchOrder(len(data[0]), _BATCH, seed=seed).epoch(0) for seed in range(_SEEDS)]

    def loss(parameters: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
        named = dict(zip(names, parameters, strict=True))
        return nn.functional.cross_entropy(torch.func.functional_call(models[0], named, (x,)), y)

    for batch in torch.stack(orders, dim=1).flatten(1):
        x, y = (part.index_select(0, batch).unflatten(0, (_SEEDS, _BATCH)) for part in data)
        gradients = torch.autograd.grad(torch.func.vmap(loss)(weights, x, y).sum(), weights)
        with torch.no_grad():
            torch._foreach_add_(weights, gradients, alpha=-0.1)


def _start(data: Data, threads: int) -> None:
    global _shared
    torch.set_num_threads(threads)
    _shared = data


def _work(seed: int) -> None:
    _one_seed(_shared, seed)


_shared: Data


def _ten_seeds(data: Data) -> list[Row]:
    threads = torch.get_num_threads()
    times = {
        "one after another": [seconds(lambda: [_one_seed(data, seed) for seed in range(_SEEDS)]) for _ in range(2)],
        "in one batched pass (vmap)": [seconds(lambda: _in_one_batch(data)) for _ in range(2)],
    }
    if threads > 1:
        with ProcessPoolExecutor(threads, get_context("fork"), initializer=_start, initargs=(data, 1)) as pool:
            list(pool.map(_work, range(threads)))
            name = f"in {threads} processes of one thread"
            times[name] = [seconds(lambda: list(pool.map(_work, range(_SEEDS)))) for _ in range(2)]
    return [Row.of(f"an epoch of ten seeds: {name}", "s", taken) for name, taken in times.items()]
