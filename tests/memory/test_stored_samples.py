import math

import pytest
import torch

from landscope.memory.replay.labelled import Labelled
from landscope.memory.replay.stored_samples import StoredSamples

LABELS = torch.tensor([0] * 12 + [1] * 3 + [2] * 5)
INPUTS = torch.arange(20.0)[:, None]


def stored(per, count, *, seed=0):
    return StoredSamples.of(Labelled(INPUTS, LABELS), per, count, torch.Generator().manual_seed(seed))


def test_as_many_of_each_class_or_all_that_there_are():
    kept = stored("class", 4)
    found = kept.samples
    assert found.labels.bincount().tolist() == [4, 3, 4]
    assert torch.equal(LABELS[found.inputs[:, 0].long()], found.labels)  # inputs keep their labels
    assert len(found.inputs.unique()) == len(found.inputs)
    assert kept.n_stored == 22


def test_as_many_of_a_task():
    assert len(stored("task", 7).samples.labels) == 7
    assert len(stored("task", 70).samples.labels) == 20


def test_a_reservoir_holds_every_sample_with_the_same_probability():
    n, seeds = 8, 400
    from_first = 0
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        first, second = (
            StoredSamples.of(Labelled(x, torch.zeros(len(x)).long()), "all", n, generator)
            for x in (torch.zeros(10, 1), torch.ones(30, 1))
        )
        both = first.joined(second).first(n).samples
        assert len(both.labels) == n
        from_first += int((both.inputs == 0).sum())
    variance = n * 0.25 * 0.75 * (40 - n) / (40 - 1)  # hypergeometric: 8 of 40, of which 10 are of the first task
    assert abs(from_first / seeds - n * 0.25) < 4 * math.sqrt(variance / seeds)


@pytest.mark.parametrize("per", ["class", "task", "all"])
def test_the_choice_depends_on_the_seed_alone(per):
    state = torch.get_rng_state()
    first, again, other = stored(per, 3), stored(per, 3), stored(per, 3, seed=1)
    assert torch.equal(first.samples.inputs, again.samples.inputs)
    assert not torch.equal(first.samples.inputs, other.samples.inputs)
    assert torch.equal(torch.get_rng_state(), state)
