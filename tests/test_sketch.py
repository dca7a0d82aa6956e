"""The count sketch: its dense twin, its bounds, and the same bits for the same seed."""

import math

import pytest
import torch

from landscope.errors import InputError
from landscope.sketch import CountSketch

DIM, SIZE = 3000, 256
N_SEEDS = 600
KNOWN = [238.0, 165.0, -166.0, -167.0, -250.0, 253.0]


def dense(sketch):
    """The matrix of a map, ``[m, N]``: the sketches of all unit vectors."""
    return sketch(torch.eye(sketch.dim)).T


def relative_errors(x, y):
    """Errors of the inner product of two vectors in many sketches, over the product of their lengths."""
    found = []
    for seed in range(N_SEEDS):
        sketch = CountSketch(DIM, SIZE, seed)
        found.append(float(sketch(x) @ sketch(y)))
    return (torch.tensor(found) - float(x @ y)) / float(x.norm() * y.norm())


@pytest.mark.parametrize("dim", [100, 61 * 20, 3001])
def test_each_weight_goes_to_one_bucket_with_a_sign(dim):
    matrix = dense(CountSketch(dim, 80, seed=3))
    assert torch.equal(matrix.abs().sum(dim=0), torch.ones(dim))
    assert set(matrix.unique().tolist()) == {-1.0, 0.0, 1.0}


def test_the_sketch_is_the_dense_matrix_times_the_vector():
    sketch = CountSketch(3001, 80, seed=3)
    x = torch.randn(2, 3, 3001, dtype=torch.float64)
    assert torch.allclose(sketch(x), x @ dense(sketch).double().T, atol=1e-12)


def test_a_run_goes_to_successive_buckets_and_two_runs_begin_at_independent_ones():
    matrix = dense(CountSketch(200, 64, seed=0)).abs()
    for run in matrix.argmax(dim=0).split(61):
        assert torch.equal((run - run[0]) % 64, torch.arange(len(run)))
    n_seeds, units = 800, torch.eye(200)[[0, 61, 70]]
    buckets = torch.stack([CountSketch(200, 64, seed)(units).abs().argmax(dim=1) for seed in range(n_seeds)])
    for other in (1, 2):  # so a pair of weights of different runs meets with probability 1/m
        apart = (buckets[:, 0] - buckets[:, other]) % 64
        counts = torch.bincount(apart, minlength=64).double()
        chi = float((counts - n_seeds / 64).square().sum() / (n_seeds / 64))
        assert abs(chi - 63) < 4 * math.sqrt(2 * 63)


@pytest.mark.parametrize(("kind", "share"), [("independent", 1.0), ("parallel", 2.0)])
def test_lengths_are_kept_within_the_bound(kind, share):
    x = torch.randn(DIM, generator=torch.Generator().manual_seed(0)) if kind == "independent" else torch.ones(DIM)
    errors = relative_errors(x, x)
    bound = share * 2 / SIZE  # 2/m, and 4/m where all runs are parallel
    spread = math.sqrt(2 / N_SEEDS)  # of a variance, relative, for normal errors; four of them
    assert abs(float(errors.mean())) < 4 * math.sqrt(bound / N_SEEDS)
    assert 0.85 * bound < float(errors.var()) < bound * (1 + 4 * spread)
    assert CountSketch(DIM, SIZE).error == pytest.approx(math.sqrt(2 / SIZE))


def test_inner_products_are_kept_within_the_bound():
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, DIM, generator=generator)
    errors = relative_errors(x, y)
    assert abs(float(errors.mean())) < 4 * math.sqrt(1 / SIZE / N_SEEDS)
    assert float(errors.var()) < (1 / SIZE) * (1 + 4 * math.sqrt(2 / N_SEEDS))  # of orthogonal vectors half as large


def test_rank_one_changes_of_layers_as_wide_as_powers_of_two_do_not_line_up_with_runs():
    x = torch.outer(torch.randn(47), torch.randn(64)).flatten()[:DIM]
    x = torch.cat([x, torch.zeros(DIM - len(x))])
    assert float(relative_errors(x, x).var()) < 1.25 * 2 / SIZE


def test_the_same_seed_gives_the_same_bits_and_another_one_another_map():
    x = torch.randn(DIM)
    first, again, other = CountSketch(DIM, SIZE, 5), CountSketch(DIM, SIZE, 5), CountSketch(DIM, SIZE, 6)
    before = torch.get_rng_state()
    assert torch.equal(first(x), again(x))
    assert torch.equal(torch.get_rng_state(), before)
    assert first == again
    assert first != other
    assert not torch.equal(first(x), other(x))


def test_a_known_map_stays_as_it_is():
    # Sketches on disk must be read with the map that made them.
    found = CountSketch(200, 64, seed=7)(torch.arange(200.0))
    assert found[:6].tolist() == KNOWN


@pytest.mark.parametrize("threads", [1, 2])
def test_parts_of_a_vector_give_the_bits_of_the_whole(threads):
    n = 61 * 40_000 + 17  # three pieces
    x, sketch = torch.randn(n), CountSketch(n, 64)
    shapes = [(1000, 1000), (7,), (400, 3001)]
    rest = n - sum(math.prod(shape) for shape in shapes)
    flat = x.split([*(math.prod(shape) for shape in shapes), rest])
    parts = [part.view(shape) for part, shape in zip(flat, [*shapes, (rest,)], strict=True)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert torch.equal(sketch.of(parts), sketch(x))
    finally:
        torch.set_num_threads(before)
    turned = [part.t().contiguous().t() if part.ndim == 2 else part for part in parts]
    assert torch.equal(sketch.of(turned), sketch(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_sums_are_rounded_as_stated(dtype):
    n, m = 2_000_000, 128
    x, sketch = torch.randn(n).to(dtype), CountSketch(n, m)
    found = sketch(x)
    assert found.dtype == torch.float32
    assert sketch(x.double()).dtype == torch.float64
    k = n / 61 / m
    off = (found.double() - sketch(x.double())).square().mean().sqrt()
    assert float(off) < math.sqrt(61) * 2**-24 * k / math.sqrt(6) + 2**-24 * math.sqrt(n / m)  # the folds of the sums
    assert float(off) * math.sqrt(m) < sketch.rounding(torch.float32) * float(found.norm())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CountSketch(1000, 1000), "fewer numbers than the 1000 weights"),
        (lambda: CountSketch(1000, 63), "size to be an integer of at least 64"),
        (lambda: CountSketch(1000, 100, seed=-1), "seed to be an integer"),
        (lambda: CountSketch(1000, 100)(torch.ones(999)), "1000 selected parameters"),
    ],
)
def test_nonsense_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
