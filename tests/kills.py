"""Kill a piece of work at random moments, let it end, and compare with an undisturbed one.

``python tests/kills.py SCENARIO KILLS SEED FOLDER`` prints what was found as JSON. Everything is imported once; each
try is a fork of that process, so that a kill hits the work and not the imports. Nothing but imports happens before it.
"""

import contextlib
import importlib
import io
import json
import os
import pkgutil
import random
import shutil
import signal
import sys
import time
import warnings
from pathlib import Path

import torch

MARK = "LANDSCOPE_KILLED_BY_TEST"
_ALSO = ("torch._dynamo", "sklearn.datasets", "plotly.graph_objects", "scipy.stats", "small_study")
KILLS_IN_A_ROW = 6
"""Kills of one folder before its work may end."""
TINY = (
    "--hidden", "6", "6", "--batch-size", "100", "--learning-rate", "0.2", "--start", "6", "--window-epochs", "3",
    "--fit-modes", "2", "20", "--spectrum-ranks", "3", "20", "--flatness-modes", "24", "--n-nulls", "1",
    "--curvature-modes", "6", "--n-processes", "1", "--noise-modes", "6", "--basis-modes", "6",
)  # fmt: skip


def command(*words):
    from landscope.cli import main

    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main([str(word) for word in words])


def run(folder):
    """``landscope run``."""
    command("run", *TINY, "--out", folder, "--json")


def prepare_analysis(folder):
    command("train", *TINY, "--out", folder, "--json")


def analyse(folder):
    """``landscope analyse`` with further stages."""
    command("analyse", folder, "--noise", "--controls", "--json")


def reproduce(folder):
    """``landscope reproduce`` in two processes."""
    words = [word for word in TINY if word != "--batch-size"]
    pairs = ("--pairs", "100:0.2", "--seeds", "3", "--jobs", "2", "--quick", "--json")
    drop = {"100", "--learning-rate", "0.2"}
    command("reproduce", "fig2", *(word for word in words if word not in drop), *pairs, "--out", folder)


def record(folder):
    """A recording on disk and its analysis, in a loop of a user's own, from a checkpoint of the user's own."""
    import landscope as ls
    import small_study as small

    folder.mkdir(parents=True, exist_ok=True)
    model, mine = small.network(), folder / "mine.pt"
    optimizer, done = small.sgd(model), 0
    if mine.exists():
        state = torch.load(mine, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["step"]
    study = ls.Study(folder / "study", model, small.CRITERION, small.samples(), **small.SETTINGS)
    if done < small.N_STEPS:
        with study.record(optimizer, small.SELECT, first_step=done + 1) as recorder:

            def keep(step):
                if step % 20 == 0:
                    recorder.flush()
                    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
                    torch.save(state, folder / "mine.new")
                    (folder / "mine.new").replace(mine)

            small.train(model, optimizer, first=done + 1, after_step=keep)
    study.analyse(progress=False)


def memory(folder):
    """A recording in memory, whose rows the user's own checkpoint keeps."""
    import landscope as ls
    import small_study as small

    folder.mkdir(parents=True, exist_ok=True)
    model, mine = small.network(), folder / "mine.pt"
    optimizer, done, rows = small.sgd(model), 0, []
    if mine.exists():
        state = torch.load(mine, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done, rows = state["step"], [state["rows"]]
    with ls.TrajectoryRecorder(model, optimizer, small.SELECT, first_step=done + 1) as recorder:

        def keep(step):
            if step % 10 == 0:
                kept = torch.cat([*rows, recorder.trajectory().weights])
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "rows": kept}
                torch.save(state, folder / "mine.new")
                (folder / "mine.new").replace(mine)

        if done < small.N_STEPS:
            small.train(model, optimizer, first=done + 1, after_step=keep)
    kept = torch.load(mine, weights_only=True)["rows"]
    ls.save(ls.principal_modes(ls.Trajectory.of(kept)), folder / "modes.zarr.zip", overwrite=True)


def trainer(folder):
    """Two tasks with a TaskMemory under the Hugging Face Trainer, resumed from its checkpoints."""
    from reliability_trainer import two_tasks

    two_tasks(folder)


SCENARIOS = {one.__name__: one for one in (run, analyse, reproduce, record, memory, trainer)}
PREPARED = {"analyse": prepare_analysis}


def contents(folder, result):
    """Digests of every result, row and whole model below a folder, as JSON."""
    from landscope.storage import read_archive
    from landscope.study.identity import digest_of_recording

    found = {str(file.relative_to(folder)): read_archive(file).digest for file in folder.rglob("*.zarr.zip")}
    found |= {str(path.relative_to(folder)): digest_of_recording(path) for path in folder.rglob("trajectory")}
    for file in (*folder.rglob("mine.pt"), *folder.rglob("end.pt")):
        state = torch.load(file, weights_only=True)
        found[str(file.relative_to(folder))] = str({name: str(value) for name, value in state.items()})
    result.write_text(json.dumps(found))


def forked(call, *arguments):
    """Begin a call in a process of its own, with its errors in a file."""
    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    status, errors = 1, os.open(os.environ["KILLS_ERRORS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(errors, 2)
    try:
        warnings.simplefilter("ignore")
        call(*arguments)
        status = 0
    except BaseException as error:  # noqa: BLE001 - told to the parent
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(status)


def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def orphans():
    """Processes that a killed one has left, other than this one."""
    mark, found = f"{MARK}={os.environ[MARK]}".encode(), []
    for place in Path("/proc").iterdir():
        if place.name.isdigit() and int(place.name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark in (place / "environ").read_bytes() and b"Z" not in (place / "stat").read_bytes().split()[2]:
                    found.append(int(place.name))
    return found


def left_alive(seconds=20.0):
    """Orphans that are still there after some time."""
    deadline = time.monotonic() + seconds
    while (found := orphans()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def import_everything(further):
    """Import all that the work imports, and what torch imports with its first optimiser."""
    import landscope

    modules = [one.name for one in pkgutil.walk_packages(landscope.__path__, "landscope.")]
    skipped = ("landscope.__main__", "landscope.adapters")
    for module in [*(one for one in modules if not one.startswith(skipped)), *_ALSO, *further]:
        importlib.import_module(module)


def killed(name, kills, seed, root):
    """Kill the work of a scenario many times; what was found."""
    os.environ["KILLS_ERRORS"] = str(root / "errors.txt")
    work, draw = SCENARIOS[name], random.Random(seed)
    if name in PREPARED:
        assert ended(forked(PREPARED[name], root / "prepared")) == 0

    def fresh(place):
        shutil.rmtree(place, ignore_errors=True)
        if name in PREPARED:
            shutil.copytree(root / "prepared", place)
        return place

    whole = fresh(root / "whole")
    begun = time.monotonic()
    assert ended(forked(work, whole)) == 0, "the undisturbed work failed"
    seconds = time.monotonic() - begun
    assert ended(forked(contents, whole, root / "whole.json")) == 0
    wanted = json.loads((root / "whole.json").read_text())
    found = {"scenario": name, "seconds": round(seconds, 1), "results": len(wanted), "kills": 0, "ended_early": 0}
    found |= {"folders": 0, "orphans": 0, "refused": [], "different": [], "left_over": 0}
    while found["kills"] < kills:
        place, errors = fresh(root / f"killed-{found['folders']}"), root / "errors.txt"
        for _ in range(min(KILLS_IN_A_ROW, kills - found["kills"])):
            errors.unlink(missing_ok=True)
            pid = forked(work, place)
            time.sleep(draw.uniform(0, seconds))
            if os.waitpid(pid, os.WNOHANG) != (0, 0):
                found["ended_early"] += 1
                if errors.exists() and errors.read_text():
                    found["refused"].append(errors.read_text()[-500:])
                break
            os.kill(pid, signal.SIGKILL)
            ended(pid)
            found["kills"] += 1
            found["orphans"] += len(left_alive())
        errors.unlink(missing_ok=True)
        if ended(forked(work, place)) != 0:
            found["refused"].append(errors.read_text()[-500:] if errors.exists() else "")
        elif ended(forked(contents, place, root / "found.json")) == 0:
            got = json.loads((root / "found.json").read_text())
            found["different"] += [one for one in wanted.keys() | got.keys() if wanted.get(one) != got.get(one)]
        else:
            found["refused"].append("its results cannot be read")
        found["left_over"] += len(list(place.rglob(".*.partial")))
        found["folders"] += 1
        shutil.rmtree(place)
    return found


if __name__ == "__main__":
    os.environ.setdefault(MARK, f"{os.getpid()}")
    sys.path[:0] = [str(Path(__file__).parent)]
    torch.set_num_threads(1)
    if len(sys.argv) > 2 and os.environ.get("KILLS_BEGUN") != "1":  # the mark must stand in /proc/PID/environ
        os.environ["KILLS_BEGUN"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    import_everything(["reliability_trainer"] if sys.argv[1] == "trainer" else [])
    print(json.dumps(killed(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]).resolve())))
