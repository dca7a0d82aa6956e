# ruff: noqa: E501 - lines of a page
"""What a monitor costs in the training of a ResNet and a GPT-2: ``python -m benchmarks.monitor --help``."""

from __future__ import annotations

import argparse
import itertools
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

import landscope as ls
from landscope.reproduction.experiment.datasets.texts import byte_sequences, python_texts

__all__ = ["main"]

_HEAD = """# What a monitor costs

`python -m benchmarks.monitor --seconds {seconds} --batch {batch} --samples {samples} --markdown docs/results/monitor.md`, with LANDSCOPE_DATA set;
{threads} thread(s), {device}, torch {torch}. Each network is trained for {seconds} s with `ls.Monitor(..., budget={budget}, to="tensorboard",
n_samples={samples})`; blocks of steps without the monitor's hook alternate with them. *Share* is measuring time over training time, as the monitor
measured it. *Slower* is the time of a step in all blocks with the hook over that in all blocks without, less one; it includes what the monitor
cannot see, and the noise of the machine: plus or minus its standard error over pairs of blocks. The event files are read back with TensorBoard's
`EventAccumulator`; *equal* says whether they hold the numbers of the history, in float32.

| network | weights | batch | ms a step | share | slower | quantities measured (times) | last values | events equal |
|---|---|---|---|---|---|---|---|---|
"""
_KINDS = ("loss", "noise_scale", "batch_sharpness", "sharpness", "temperature/mode_1", "variance/mode_1")
Batch = tuple[Tensor, Tensor]


class Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation, and the way around them."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        stride = width // before
        self.convolutions = nn.Sequential(
            nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip
        self.around = nn.Identity() if stride == 1 else nn.Conv2d(before, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways."""
        return torch.relu(self.convolutions(x) + self.around(x))


def resnet() -> nn.Module:
    """A ResNet of eight layers, 16 to 64 wide."""
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    stages = nn.Sequential(Block(16, 16), Block(16, 32), Block(32, 64))
    return nn.Sequential(stem, stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class GPT2(nn.Module):
    """A GPT-2 of four blocks 128 wide, over bytes."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import GPT2Config, GPT2LMHeadModel

        sizes = {"vocab_size": 256, "n_positions": 64, "n_embd": 128, "n_layer": 4, "n_head": 4}
        self.inner = GPT2LMHeadModel(
            GPT2Config(**sizes, bos_token_id=0, eos_token_id=0, attn_implementation="eager", use_cache=False)
        )

    def forward(self, ids: Tensor) -> Tensor:
        """Logits ``[b, 256, t]``, as the cross-entropy of torch takes them."""
        return self.inner(input_ids=ids).logits.transpose(1, 2)


def cifar() -> Batch:
    """The training images of CIFAR-10, normed."""
    from datasets import load_dataset

    rows = load_dataset(f"{os.environ['LANDSCOPE_DATA']}/cifar10", split="train[:20000]").with_format("numpy")[:]
    images = torch.from_numpy(rows["img"]).permute(0, 3, 1, 2).float() / 255
    return (images - images.mean()) / images.std(), torch.from_numpy(rows["label"]).long()


def text() -> Batch:
    """The text of Python's own modules, as bytes: 64 of them, and the ones that follow."""
    rows = byte_sequences(b"".join(python_texts().values()), 65)[0][:20_000].long()
    return rows[:, :-1], rows[:, 1:]


def batches(data: Batch, size: int) -> Iterator[Batch]:
    """Shuffled minibatches without end."""
    generator = torch.Generator().manual_seed(0)
    for _ in itertools.count():
        for rows in torch.randperm(len(data[0]), generator=generator).split(size):
            if len(rows) == size:
                yield data[0][rows.to(data[0].device)], data[1][rows.to(data[0].device)]


def _row(name: str, model: nn.Module, data: Batch, make: Callable[..., torch.optim.Optimizer], args) -> str:
    device = torch.device(args.device)
    model, data, criterion = model.to(device), (data[0].to(device), data[1].to(device)), nn.CrossEntropyLoss()
    optimizer, source = make(model.parameters()), batches(data, args.batch)
    risk = ls.EmpiricalRisk(model, criterion, (data[0][:2000], data[1][:2000]))

    def steps(count: int) -> float:
        """Seconds of some steps."""
        _wait(device)
        began = time.perf_counter()
        for _ in range(count):
            inputs, labels = next(source)
            optimizer.zero_grad()
            criterion(model(inputs), labels).backward()
            optimizer.step()
        _wait(device)
        return time.perf_counter() - began

    steps(5)
    count = max(1, round(args.block * 20 / steps(20)))
    with tempfile.TemporaryDirectory() as folder:
        monitor = ls.Monitor(
            model, optimizer, risk, batch_size=args.batch, budget=args.budget, to="tensorboard", path=folder,
            n_samples=args.samples,
        )  # fmt: skip
        times: tuple[list[float], list[float]] = ([], [])
        with monitor:
            while sum(times[0]) < args.seconds:
                times[0].append(steps(count))
                hooks, clock = dict(optimizer._optimizer_step_post_hooks), monitor._budget
                optimizer._optimizer_step_post_hooks.clear()
                times[1].append(steps(max(1, count // 3)))
                optimizer._optimizer_step_post_hooks.update(hooks)
                clock._start += times[1][-1]  # no time of this training
        equal = _events_equal(folder, monitor.history)
    history = monitor.history
    if args.figures:
        history.plot().write_html(f"{args.figures}/{name.lower()}.html")
    times_of = {kind: len(history.curve(kind)[0]) for kind in _KINDS if kind in history.names}
    last = {kind: float(history.curve(kind)[1][-1]) for kind in times_of}
    step = sum(times[1]) / len(times[1]) / max(1, count // 3)
    slower, error = sum(times[0]) / len(times[0]) / count / step - 1, _relative_error(times)
    return (
        f"| {name} | {risk.space.dim:,} | {args.batch} | {1000 * step:.1f} | "
        f"{100 * history.share:.2f} % | {100 * slower:.1f} ± {100 * error:.1f} % | "
        f"{', '.join(f'{kind} {n}' for kind, n in times_of.items())} | "
        f"{', '.join(f'{kind} {value:.3g}' for kind, value in last.items())} | {'yes' if equal else 'no'} |\n"
    )


def _relative_error(times: tuple[list[float], list[float]]) -> float:
    """Standard error of the ratio of the means of both lists."""
    parts = [torch.tensor(one).double() for one in times]
    return math.hypot(*(float(one.std() / one.mean()) / math.sqrt(len(one)) for one in parts))


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _events_equal(folder: str, history: ls.monitoring.MonitorHistory) -> bool:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(folder, size_guidance={"scalars": 0})
    events.Reload()
    for name in history.names:
        steps, values = history.curve(name)
        read = events.Scalars(name)
        if [event.step for event in read] != steps.tolist():
            return False
        if not torch.equal(torch.tensor([event.value for event in read]).float(), values.float()):
            return False
    return True


def main() -> None:
    """Train both networks and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=200, help="seconds of training with the monitor, each")
    parser.add_argument("--block", type=float, default=2, help="seconds of a block of steps")
    parser.add_argument("--budget", type=float, default=0.05)
    parser.add_argument("--samples", type=int, default=32, help="probe samples")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--figures", type=Path, help="folder for the figures of the histories")
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    table = _HEAD.format(
        seconds=f"{args.seconds:g}", batch=args.batch, threads=torch.get_num_threads(), budget=args.budget, samples=args.samples,
        device=args.device if args.device == "cpu" else torch.cuda.get_device_name(), torch=torch.__version__,
    )  # fmt: skip
    networks = (
        ("ResNet-8", resnet, cifar, lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9)),
        ("GPT-2", GPT2, text, lambda parameters: torch.optim.AdamW(parameters, lr=3e-4)),
    )
    for name, network, data, make in networks:
        table += _row(name, network(), data(), make, args)
    print(table)
    if args.markdown:
        args.markdown.write_text(table)


if __name__ == "__main__":
    main()
