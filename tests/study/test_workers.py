"""Workers that share an analysis: the bits of one process, also where a worker is killed; clear errors."""

import os
import sys
import threading

import pytest
import torch
from torch import nn

import landscope as ls
import small_study as small
from landscope.errors import InputError, StorageError
from landscope.study import flatness_along
from landscope.study.analysis import Analysis
from landscope.study.folder import StudyFolder
from landscope.study.workers import checked_workers, shared_with
from small_run import assert_same

PARENT = os.getpid()
FORKS = sys.platform == "linux" and not torch.accelerator.is_available()
forked = pytest.mark.skipif(not FORKS, reason="workers are forked on Linux, without a GPU")


@pytest.fixture(scope="module")
def alone(recorded_folder, tmp_path_factory):
    """What one process makes."""
    study = small.record(tmp_path_factory.mktemp("alone") / "s")
    study.analyse(noise=True, controls=True, progress=False)
    return study


def in_workers(monkeypatch, instead):
    """Measure the flatness by another function in workers, and not at all in this process."""
    real = flatness_along.flatness

    def measured(*arguments, **options):
        assert os.getpid() != PARENT
        return instead(real, *arguments, **options)

    monkeypatch.setattr(flatness_along, "flatness", measured)


def stopped_after(beginning, study, monkeypatch):
    """An analysis by two workers that is stopped when it has saved a result whose name begins so."""
    save = StudyFolder.save

    def stop(self, name, *arguments):
        save(self, name, *arguments)
        if name.startswith(beginning):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(StudyFolder, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            study.analyse(progress=False, jobs=2)


def parents(study):
    return {name: set(study.folder.heading(name).identity.get("parents", {})) for name in study.folder.names()}


@pytest.mark.slow
@forked
def test_two_workers_make_the_bits_of_one_process(alone, tmp_path, monkeypatch):
    in_workers(monkeypatch, lambda real, *arguments, **options: real(*arguments, **options))
    study = small.record(tmp_path / "s")
    study.analyse(noise=True, controls=True, progress=False, jobs=2)
    assert_same(small.contents(alone), small.contents(study))
    assert parents(alone) == parents(study)
    study.analyse(noise=True, controls=True, progress=False)  # nothing is made again


@pytest.mark.slow
@forked
def test_a_process_of_two_threads_finds_the_modes_of_the_draws_itself(tmp_path, monkeypatch):
    """Their bits depend on the number of threads, and a worker has one."""
    one, two = (small.record(tmp_path / name, n_nulls=1, n_processes=0) for name in ("one", "two"))
    torch.set_num_threads(2)
    try:
        one.analyse(progress=False)
        in_workers(monkeypatch, lambda real, *arguments, **options: real(*arguments, **options))
        two.analyse(progress=False, jobs=2)
    finally:
        torch.set_num_threads(1)
    assert_same(small.contents(one), small.contents(two))


@pytest.mark.slow
@forked
def test_pieces_of_a_stopped_analysis_are_not_measured_again(alone, recorded, monkeypatch):
    monkeypatch.setattr("landscope.study.stages.flatness._PIECE", 16)
    study = small.opened(recorded)
    stopped_after("flatness-from-", study, monkeypatch)
    pieces = study.folder.names("flatness-from-")
    assert len(pieces) == 1
    measured = []
    by_workers = flatness_along._by_workers
    monkeypatch.setattr(
        flatness_along, "_by_workers",
        lambda *arguments: (measured.extend(arguments[2]), by_workers(*arguments))[1],
    )  # fmt: skip
    study.analyse(progress=False, until="flatness", jobs=3)
    assert [piece.start for piece in measured] == [16, 32, 48]
    assert torch.equal(study.flatness.width, alone.flatness.width)


@forked
def test_a_draw_is_kept_when_it_is_made(recorded, monkeypatch):
    """A stopped analysis begins no draw again that was ready."""
    study = small.opened(recorded)
    stopped_after("exponents-shuffled", study, monkeypatch)
    assert len(study.folder.names("exponents-shuffled")) == 1
    study.analyse(progress=False, jobs=2)
    assert len(study.folder.names("exponents-shuffled")) == 2


@pytest.mark.slow
@forked
def test_a_killed_worker_is_replaced(alone, tmp_path, monkeypatch):
    def dying_once(real, *arguments, **options):
        try:
            (tmp_path / "died").touch(exist_ok=False)
        except FileExistsError:
            return real(*arguments, **options)
        os._exit(9)

    in_workers(monkeypatch, dying_once)
    study = small.record(tmp_path / "s")
    study.analyse(noise=True, controls=True, progress=False, jobs=2)
    assert (tmp_path / "died").exists()
    assert_same(small.contents(alone), small.contents(study))
    assert parents(alone) == parents(study)


@forked
def test_workers_that_are_killed_again_and_again_are_told(recorded, monkeypatch):
    study = small.opened(recorded)
    with monkeypatch.context() as patch:
        in_workers(patch, lambda *_, **__: os._exit(9))
        with pytest.raises(StorageError, match="jobs=1 to go on"):
            study.analyse(progress=False, jobs=2)
    study.analyse(progress=False, until="flatness")


@forked
def test_what_goes_wrong_in_a_worker_is_told(recorded, monkeypatch):
    def refused(*_, **__):
        raise InputError(expected="a job that works", got="one that does not", hint="Mend it.")

    in_workers(monkeypatch, refused)
    with pytest.raises(InputError, match="a job that works"):
        small.opened(recorded).analyse(progress=False, jobs=2)


@pytest.mark.slow
@forked
def test_what_only_one_part_needs_is_left_out_with_its_reason(recorded, monkeypatch):
    """A worker that cannot measure along the eigenvectors of the curvature stands in no other's way."""
    study = small.opened(recorded)
    study.analyse(progress=False, until="flatness")
    (few,) = study.flatness.width.shape

    def refused(real, risk, w0, rows, **options):
        if len(rows) == 10:  # half of the eigenvectors
            raise InputError(expected="a job that works", got="one that does not", hint="Mend it.")
        return real(risk, w0, rows, **options)

    assert few != 10
    in_workers(monkeypatch, refused)
    study.analyse(progress=False, jobs=2)
    assert "a job that works" in study.folder.read_note("not-measured")["flatness-curvature"]
    assert study.folder.has("exponents-shuffled-1")


@pytest.mark.slow
@forked
def test_what_cannot_be_pickled_needs_no_pickle_on_linux(tmp_path):
    lock = threading.Lock()

    def losses(model, batch):
        with lock:
            return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")

    found = []
    for jobs in (1, 2):
        model = small.network()
        optimizer = small.sgd(model)
        study = ls.Study(tmp_path / str(jobs), model, losses=losses, data=small.samples(), **small.SETTINGS)
        with study.record(optimizer, small.SELECT):
            small.train(model, optimizer)
        study.analyse(progress=False, jobs=jobs, until="flatness")
        found.append(study.flatness.width)
    assert torch.equal(*found)


@pytest.fixture
def spawned(monkeypatch):
    """As on a machine with a GPU."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)


def test_a_criterion_that_cannot_be_pickled_is_named_before_the_work(recorded, spawned):
    lock = threading.Lock()

    def criterion(outputs, targets):
        with lock:
            return small.CRITERION(outputs, targets)

    study = ls.Study(recorded, small.network(), criterion, small.samples())
    with pytest.raises(InputError, match=r"criterion to be pickled for workers; got .*lock.*leave jobs=1"):
        study.analyse(progress=False, jobs=2)
    assert not study.folder.has_results
    assert not list(recorded.glob(".workers-*"))
    left = recorded / ".workers-of-a-killed-process"
    left.mkdir()
    study.analyse(progress=False, until="modes")
    assert not left.exists()


class Drawn(torch.utils.data.Dataset):
    def __init__(self):
        self._generator = torch.Generator().manual_seed(0)

    def __len__(self):
        return 30

    def __getitem__(self, index):
        return torch.randn(6, generator=self._generator), index % 3


@pytest.mark.filterwarnings("ignore")
def test_data_that_differ_at_each_reading_are_refused(recorded, spawned):
    study = ls.Study(recorded, small.network(), small.CRITERION, Drawn())
    with pytest.raises(InputError, match="the same at each reading"):
        study.analyse(progress=False, jobs=2)


def test_a_model_on_a_gpu_is_not_shared(recorded):
    study = small.opened(recorded)
    study.model.to("meta")  # stands for a GPU
    with (
        pytest.raises(InputError, match=r"a model on the CPU.*jobs=1"),
        shared_with(checked_workers(2, "processes"), Analysis(study.folder, study._subject)),
    ):
        pass


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("where", ["processes", "ray", "dask"])
def test_workers_that_read_the_folder_make_the_same_bits(alone, tmp_path, monkeypatch, spawned, where):
    if where != "processes":
        pytest.importorskip({"ray": "ray", "dask": "distributed"}[where])
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # workers import small_study
    study = small.record(tmp_path / "s")
    study.analyse(noise=True, controls=True, progress=False, jobs=2, executor=where)
    assert_same(small.contents(alone), small.contents(study))
    assert not list((tmp_path / "s").glob(".workers-*"))
