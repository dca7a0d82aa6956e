"""A GPU beside the processor: the same rows and widths, few waits, and no memory that grows.

``make test-device`` runs them in less than four minutes; on the processor they only show that the code runs.
"""

import contextlib
import warnings

import pytest
import torch
from torch import nn

import landscope as ls

N_SAMPLES, WIDTH = 2000, 256


def network(device, width=WIDTH):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)).to(
        device
    )


def samples(device, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(N_SAMPLES, 64, generator=generator)
    return inputs.to(device), (inputs[:, :10] + 0.1 * torch.randn(N_SAMPLES, 10, generator=generator)).argmax(1).to(
        device
    )


def train(model, optimizer, data, n_steps, around=contextlib.nullcontext, n_quiet=0):
    """Train on parts of the data; each step after the first ones within a context."""
    inputs, targets = data
    for step in range(n_steps):
        part = slice(step * 100 % N_SAMPLES, step * 100 % N_SAMPLES + 100)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[part]), targets[part]).backward()
        with contextlib.nullcontext() if step < n_quiet else around():
            optimizer.step()


class Waits:
    """The waits that CUDA reports in each context; none elsewhere."""

    def __init__(self, device):
        self._device, self.counts = device, []

    @contextlib.contextmanager
    def __call__(self):
        if self._device.type != "cuda":
            yield
            self.counts.append(0)
            return
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                yield
            finally:
                torch.cuda.set_sync_debug_mode("default")
        self.counts.append(sum("synchronizing" in str(warning.message) for warning in said))


def test_rows_are_the_weights_on_the_device_to_the_bit(gpu, tmp_path):
    model = network(gpu)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    space, seen = ls.ParameterSpace.of(model), []
    with (
        ls.TrajectoryRecorder(model, optimizer) as kept,
        ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "rows") as written,
    ):
        optimizer.register_step_post_hook(lambda *_: seen.append(space.flatten(model).cpu()))
        train(model, optimizer, samples(gpu), 40)
    for recorder in (kept, written):
        path = recorder.trajectory()
        assert all(torch.equal(path.row(step), row) for step, row in enumerate(seen))


def test_a_recorded_step_waits_for_nothing(gpu):
    model, waits = network(gpu), Waits(gpu)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with ls.TrajectoryRecorder(model, optimizer):
        train(model, optimizer, samples(gpu), 40, waits)
    assert waits.counts == [0] * 40


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("method", ["basin", "kfac", "ewc"])
def test_a_held_step_waits_once(gpu, method, fused):
    model, waits = network(gpu, 64), Waits(gpu)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=fused)
    memory = ls.TaskMemory(model, method=method, strength=1.0)
    for task in range(2):
        data = samples(gpu, task)
        with memory.training(optimizer):
            train(model, optimizer, data, 60, waits, n_quiet=10)
        memory.consolidate(nn.CrossEntropyLoss(), data)
    late = waits.counts[50:]
    measured = 3 if method == "basin" else 0  # every 20th step measures outputs
    assert sum(late) <= len(late) + measured, late


def trained(device):
    """The same weights on every device, trained on the processor."""
    model, data = network("cpu"), samples("cpu")
    train(model, torch.optim.SGD(model.parameters(), lr=0.1), data, 200)
    return model.to(device), tuple(part.to(device) for part in data)


def directions_of(risk):
    steps = torch.randn(16, risk.space.dim, generator=torch.Generator().manual_seed(1))
    return torch.linalg.qr(steps.T).Q.T.contiguous()


@pytest.mark.parametrize("kind", ["traced", "a closure"])
def test_widths(gpu, kind):
    widths, waits = [], Waits(gpu)
    for device in (torch.device("cpu"), gpu):
        model, data = trained(device)
        if kind == "traced":
            risk = ls.EmpiricalRisk(model, nn.CrossEntropyLoss(), data)
        else:
            risk = ls.EmpiricalRisk.from_closure(
                model, lambda m, b: nn.functional.cross_entropy(m(b[0]), b[1], reduction="none"), [data]
            )
        directions = directions_of(risk)
        with waits() if device == gpu else contextlib.nullcontext():
            widths.append(ls.flatness(risk, risk.w0, directions).width)
    torch.testing.assert_close(widths[1], widths[0], rtol=2e-3, atol=0)
    assert waits.counts[-1] <= 75  # 50 but where a few samples carry the loss


def test_convolutions_are_in_float32(gpu):
    """TF32, which CUDA takes by default, has 10 bits: the loss would differ in the fourth digit."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 32, 5), nn.ReLU(), nn.Conv2d(32, 32, 5), nn.Flatten(), nn.Linear(2048, 10))
    images, labels = torch.randn(64, 3, 16, 16), torch.arange(64) % 10
    losses = []
    for device in ("cpu", gpu):
        risk = ls.EmpiricalRisk(model.to(device), nn.CrossEntropyLoss(), (images.to(device), labels.to(device)))
        torch.set_float32_matmul_precision("high")
        losses.append(float(risk(risk.w0)))
        torch.set_float32_matmul_precision("highest")
    assert losses[1] == pytest.approx(losses[0], rel=2e-6)


def test_modes_of_rows_that_were_recorded_there(gpu):
    """The modes are found in main memory, or with products on the device."""
    model = network(gpu, 64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with ls.TrajectoryRecorder(model, optimizer) as recorder:
        train(model, optimizer, samples(gpu), 60)
    rows = recorder.trajectory()
    modes, again = ls.principal_modes(rows, 10), ls.principal_modes(ls.Trajectory.of(rows.weights), 10)
    torch.testing.assert_close(modes.variance, again.variance, rtol=1e-12, atol=0)
    there = ls.principal_modes(rows, 10, device=gpu)
    torch.testing.assert_close(modes.variance, there.variance, rtol=1e-9, atol=0)
    assert (there.directions @ modes.directions.T).diagonal().min() > 1 - 1e-9
    weights = rows.weights.to(gpu).double()
    weights = weights - weights.mean(0)
    values = torch.linalg.eigvalsh(weights @ weights.T).flip(0)[:10].cpu() / len(weights)
    torch.testing.assert_close(modes.variance.double(), values, rtol=1e-6, atol=0)


def test_memory_does_not_grow_with_the_steps(gpu, tmp_path):
    """Of a recording on disk: some blocks, however long it is."""
    if gpu.type != "cuda":
        pytest.skip("the allocator of CUDA says how much is held")
    model = network(gpu)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    held = []
    with ls.TrajectoryRecorder(model, optimizer, path=tmp_path / "rows") as recorder:
        for _ in range(4):
            train(model, optimizer, samples(gpu), 100)
            held.append(torch.cuda.memory_allocated(gpu))
    assert held[-1] <= held[0] + 2**20
    assert max(held) <= 2**28 + 20 * recorder.row_bytes


@pytest.mark.parametrize("matrix", ["hessian", "gauss-newton"])
def test_spectra(gpu, matrix):
    # The same random vectors in both places; products in float32 differ by rounding.
    found = []
    for device in (torch.device("cpu"), gpu):
        risk = ls.EmpiricalRisk(network(device, 16), nn.CrossEntropyLoss(), samples(device))
        arguments = {"landscape": risk, "w0": risk.w0, "matrix": matrix, "n_probes": 4}
        density = ls.landscape.spectral_density(**arguments, n_steps=12)
        trace, diagonal = ls.landscape.trace(**arguments), ls.landscape.diagonal(**arguments)
        assert {value.device.type for value in (density.nodes, trace.by_probe, diagonal.values)} == {"cpu"}
        name = matrix.replace("-", "_")
        ends = ("largest", "smallest") if matrix == "hessian" else ("largest",)
        eigen = [getattr(ls.directions, name)(risk, risk.w0, 2, which=end).values for end in ends]
        found.append([density.largest[0], density.sum_over(torch.square)[0], trace.value, diagonal.values, *eigen])
    scale = found[0][0]
    for here, there in zip(*found, strict=True):
        here, there = (torch.as_tensor(value, dtype=torch.float64) for value in (here, there))
        torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-4 * scale)
