"""Jobs: one after another or side by side, timed, resumable, with clear errors."""

import os
import sys

import pytest
import torch

from landscope.errors import InputError, StorageError
from landscope.progress import QuietReporter
from landscope.reproduction.jobs import Job, perform, seconds_of


def touch(reporter, path, fails):
    if fails:
        raise InputError(expected="a job that works", got="one that does not", hint="Mend it.")
    path.write_text(str(torch.get_num_threads()))


@pytest.mark.parametrize("processes", [1, 2])
def test_jobs_are_done_side_by_side_and_timed(tmp_path, processes):
    jobs = [Job(f"job {n}", touch, (tmp_path / f"{n}.txt", False)) for n in range(3)]
    perform(jobs, QuietReporter(), tmp_path / "times.json", processes=processes)
    assert all((tmp_path / f"{n}.txt").exists() for n in range(3))
    first = seconds_of(tmp_path / "times.json")
    assert set(first) == {job.name for job in jobs}
    perform(jobs[:1], QuietReporter(), tmp_path / "times.json", processes=processes)
    assert seconds_of(tmp_path / "times.json")["job 0"] >= first["job 0"]


def copy(reporter, source, target):
    target.write_text(source.read_text())


@pytest.mark.parametrize("processes", [1, 2])
def test_a_job_of_a_later_stage_finds_what_the_earlier_ones_left(tmp_path, processes):
    later = [Job(f"copy {n}", copy, (tmp_path / f"{n}.txt", tmp_path / f"copy-{n}.txt"), stage=1) for n in range(2)]
    earlier = [Job(f"job {n}", touch, (tmp_path / f"{n}.txt", False)) for n in range(2)]
    perform([*later, *earlier], QuietReporter(), tmp_path / "times.json", processes=processes)
    assert all((tmp_path / f"copy-{n}.txt").exists() for n in range(2))


@pytest.mark.parametrize("processes", [1, 2])
def test_what_goes_wrong_in_a_job_is_told(tmp_path, processes):
    jobs = [Job("bad", touch, (tmp_path / "bad.txt", True)), Job("good", touch, (tmp_path / "good.txt", False))]
    with pytest.raises(InputError, match="a job that works"):
        perform(jobs, QuietReporter(), tmp_path / "times.json", processes=processes)


def die(reporter):
    os._exit(9)


@pytest.mark.slow
def test_a_killed_process_is_told(tmp_path):
    with pytest.raises(StorageError, match="--jobs 1 to go on"):
        perform([Job("dies", die, ())], QuietReporter(), tmp_path / "times.json", processes=2)


def die_once(reporter, path):
    if not path.with_suffix(".died").exists():
        path.with_suffix(".died").touch()
        os._exit(9)
    path.write_text("done")


def test_a_job_whose_process_was_killed_is_done_again(tmp_path):
    jobs = [Job(f"job {n}", touch, (tmp_path / f"{n}.txt", False)) for n in range(4)]
    jobs.insert(1, Job("dies once", die_once, (tmp_path / "again.txt",)))
    perform(jobs, QuietReporter(), tmp_path / "times.json", processes=2)
    assert (tmp_path / "again.txt").read_text() == "done"
    assert all((tmp_path / f"{n}.txt").exists() for n in range(4))
    assert set(seconds_of(tmp_path / "times.json")) == {job.name for job in jobs}


@pytest.mark.parametrize("where", ["slurm", "processes:4", "rays"])
def test_an_unknown_executor_is_named(tmp_path, where):
    with pytest.raises(InputError, match="an executor: processes, ray, ray:ADDRESS, dask or dask:ADDRESS"):
        perform([Job("a", touch, (tmp_path / "a", False))], QuietReporter(), tmp_path / "times.json", executor=where)


@pytest.mark.parametrize("package", ["ray", "dask"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, {"ray": "ray", "dask": "distributed"}[package], None)
    with pytest.raises(InputError, match=rf"landscope\[{package}\]"):
        perform([Job("a", touch, (tmp_path / "a", False))], QuietReporter(), tmp_path / "times.json", executor=package)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("where", ["ray", "dask"])
def test_clusters_do_the_same_and_do_again_what_was_killed(tmp_path, monkeypatch, where):
    pytest.importorskip({"ray": "ray", "dask": "distributed"}[where])
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # workers import this file
    jobs = [Job(f"job {n}", touch, (tmp_path / f"{n}.txt", False)) for n in range(3)]
    jobs += [Job(f"copy {n}", copy, (tmp_path / f"{n}.txt", tmp_path / f"copy-{n}.txt"), stage=1) for n in range(3)]
    jobs.insert(1, Job("dies once", die_once, (tmp_path / "again.txt",)))
    perform(jobs, QuietReporter(), tmp_path / "times.json", processes=2, executor=where)
    assert all((tmp_path / f"copy-{n}.txt").read_text() == "1" for n in range(3))
    assert (tmp_path / "again.txt").read_text() == "done"
    bad = [Job("bad", touch, (tmp_path / "bad.txt", True))]
    with pytest.raises(InputError, match="a job that works"):
        perform(bad, QuietReporter(), tmp_path / "times.json", processes=2, executor=where)
