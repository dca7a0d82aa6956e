"""What the data of a study say of the minibatches, and how they are read."""

import math
import shutil

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import landscope as ls
import small_study as small
from small_run import assert_same


def test_a_loss_by_a_closure_and_a_loader_gives_the_same_flatness(recorded, tmp_path):
    import shutil

    twin = shutil.copytree(recorded, tmp_path / "twin")
    loader = DataLoader(TensorDataset(*small.samples()), batch_size=small.BATCH, shuffle=True)
    closure = ls.Study(
        twin, small.network(), losses=lambda model, batch: torch.nn.functional.cross_entropy(
            model(batch[0]), batch[1], reduction="none"), data=loader, n_nulls=0, n_processes=0,
    )  # fmt: skip
    closure.analyse(progress=False)
    criterion = small.opened(recorded)
    criterion.analyse(progress=False, until="flatness")
    torch.testing.assert_close(closure.flatness.width, criterion.flatness.width, rtol=1e-3, atol=0)
    summary = closure.summary()
    assert (summary["batch_size"], summary["steps_per_epoch"]) == (12, 10)
    assert ls.Study(twin).summary()["steps_per_epoch"] == 10


@pytest.mark.parametrize(("drop_last", "steps"), [(False, 18), (True, 17)])
def test_the_steps_of_an_epoch_are_those_of_the_loader(recorded, drop_last, steps):
    loader = DataLoader(TensorDataset(*small.samples()), batch_size=7, drop_last=drop_last)
    study = ls.Study(recorded, small.network(), small.CRITERION, loader, batch_size=None)
    assert (study._analysis.batch_size, study._analysis.steps_per_epoch) == (7, steps)


def test_the_steps_of_an_epoch_are_counted_where_the_samples_are(recorded):
    for data in (small.samples(), TensorDataset(*small.samples())):
        study = ls.Study(recorded, small.network(), small.CRITERION, data, batch_size=12)
        assert study._analysis.steps_per_epoch == 10
    batches = [small.samples()]
    assert ls.Study(recorded, small.network(), small.CRITERION, batches)._analysis.steps_per_epoch is None


def test_a_batch_size_beside_a_loader_of_another_one_counts_the_samples(recorded):
    loader = DataLoader(TensorDataset(*small.samples()), batch_size=7)
    study = ls.Study(recorded, small.network(), small.CRITERION, loader, batch_size=12)
    assert study._analysis.steps_per_epoch == 10


def test_another_loader_replaces_what_an_earlier_one_said(recorded):
    for size in (7, 12):
        loader = DataLoader(TensorDataset(*small.samples()), batch_size=size)
        study = ls.Study(recorded, small.network(), small.CRITERION, loader, batch_size=None)
        study.analyse(until="modes", progress=False)
        study.discard_results()
        assert study._analysis.batch_size == size


def test_a_shuffling_loader_is_read_in_the_order_of_its_data(recorded):
    loader = DataLoader(TensorDataset(*small.samples()), batch_size=7, shuffle=True, drop_last=True)
    study, plain = ls.Study(recorded, small.network(), small.CRITERION, loader), small.opened(recorded)
    w0, state = plain.risk().w0, torch.get_rng_state()
    for _ in range(2):
        assert torch.equal(study.risk().sample_losses(w0), plain.risk().sample_losses(w0))
        study._begin()
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_given_later_is_measured_later(recorded, tmp_path):
    whole = shutil.copytree(recorded, tmp_path / "whole")
    inputs, labels = small.samples()
    loader = DataLoader(TensorDataset(inputs, labels), small.BATCH)
    settings = {"n_nulls": 0, "n_processes": 0, "batch_size": None}

    def analysed(folder, data, **changes):
        study = ls.Study(folder, small.network(), small.CRITERION, data, **settings, **changes)
        study.analyse(noise=True, progress=False)
        return study

    first = analysed(recorded, (inputs, labels))
    assert "evaluate=f" in {judgement.claim.key: judgement for judgement in first.claims}["margin"].sentence
    assert math.isnan(ls.load(first.folder.file("noise-velocity")).persistence[0])
    later = analysed(recorded, loader, evaluate=small.evaluate)
    assert_same(small.contents(later), small.contents(analysed(whole, loader, evaluate=small.evaluate)))
    assert later.measurements["margin"].value == 0
    before = {name: later.folder.file(name).stat().st_mtime_ns for name in later.folder.names()}
    again = analysed(recorded, (inputs, labels))
    assert {name: again.folder.file(name).stat().st_mtime_ns for name in again.folder.names()} == before
