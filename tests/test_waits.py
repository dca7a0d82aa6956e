"""How often the host waits for a GPU, counted on a pretended one: never in a recorded step, once in a held step."""

import concurrent.futures
import multiprocessing

import pytest

from apart import called

LIMIT, LIMIT_OF_SKETCHES = 50, 75
"""Waits in a flatness: one a round. It searches on a sketch of the loss before, and on a sketch of that sketch."""
MEASURED = 1
"""Waits of the steps in which the basin measures how far outputs moved, every 20th, beside that of each step."""


@pytest.fixture(scope="module")
def waited_for():
    """Runs functions of tests/waited_for.py apart: they add a device to torch, which other tests would see."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        yield lambda function, *arguments: pool.submit(called, "waited_for", function, *arguments).result()


def test_what_is_counted(waited_for):
    counts = waited_for("snippets")
    none = (
        "add", "compare", "mixed", "made there", "a number of the host", "places", "a later copy", "train", "vmap",
        "jvp",
    )  # fmt: skip
    assert {name: counts.pop(name) for name in none} == dict.fromkeys(none, 0)
    assert counts == dict.fromkeys(counts, 1)


def test_a_recorded_step_waits_for_nothing(waited_for):
    assert waited_for("recorded_steps") == [0] * 20


SLOW = [
    ("basin", "AdamW, fused"), ("ldc", "SGD"), ("ldc", "AdamW"), ("kfac", "SGD, a rate a tensor"),
    ("kfac", "AdamW, fused"), ("ewc", "RMSprop"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "optimizer"),
    [("basin", "SGD"), ("basin", "AdamW"), *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
)
def test_a_held_step_waits_once(waited_for, method, optimizer):
    counts, table, distance = waited_for("held_steps", method, optimizer)
    late = counts[5:]  # the first ones of a training look at the optimiser and the size of the curvature
    more = [count for count in late if count > 1]
    assert not more or (method == "basin" and more == [1 + MEASURED]), table
    assert distance < 1e-3


@pytest.mark.slow
def test_a_step_of_several_products_waits_again_only_where_it_takes_more_iterations_than_the_last(waited_for):
    counts, table, _ = waited_for("held_steps", "kfac", "SGD")
    assert sum(counts[5:]) <= 1.25 * len(counts[5:]), table


SOME = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("a layer", "a sketch", "a closure")]


@pytest.mark.parametrize("kind", ["all weights", *SOME])
def test_a_flatness_of_16_directions_waits_once_a_round(waited_for, kind):
    for n_batches in (1, 8):
        count, table, distance = waited_for("flatness_waits", kind, n_batches)
        assert count <= (LIMIT_OF_SKETCHES if kind == "a sketch" else LIMIT), table
        assert distance < 1e-3
