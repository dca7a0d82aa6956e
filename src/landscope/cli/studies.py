"""Commands on the folder of a study: analyse, report, claims, and single stages."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import shutil
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from landscope.cli.shared import (
    AsJson,
    Executor,
    Jobs,
    Run,
    app,
    claims_table,
    finish,
    hint_if_stopped,
    print_law,
    reporter_of,
    say,
)
from landscope.errors import InputError, StorageError

if TYPE_CHECKING:
    from landscope.study import Study
__all__ = [
    "analyse", "claims", "controls", "dynamics", "flatness", "law", "made_study", "modes", "modules_of_this_folder",
    "noise", "report",
]  # fmt: skip

Maker = Annotated[
    str | None,
    Parameter(
        name="--study",
        help="module:function that makes the study, as function(folder) or function(); not needed for a folder of "
        "landscope run.",
    ),
]
_ARTEFACTS = {"modes": "modes.zarr.zip", "flatness": "flatness.zarr.zip", "law": "exponents-in-sample.zarr.zip"}


@contextlib.contextmanager
def modules_of_this_folder() -> Generator[None]:
    """Let modules of the working folder be imported, as ``python -m`` does."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # a user's module may have changed the path
            sys.path.remove(here)


def made_study(path: Path, maker: str, *, may_be_new: bool = False) -> Study:
    """The study that ``module:function`` makes.

    Raises:
        InputError: If there is no such function, or it makes something else.
        StorageError: If the folder is not there, the function takes no recording into it, and it may not be new.
    """
    from landscope.study import Study
    from landscope.study.recording import is_recorded

    module, _, function = maker.partition(":")
    hint = "For example --study mymodule:make_study, with def make_study(folder): return ls.Study(folder, model, ...)."
    if not module or not function:
        raise InputError(expected="--study as module:function", got=repr(maker), hint=hint)
    was_there = path.exists()
    with modules_of_this_folder():
        try:
            make: Any = getattr(importlib.import_module(module), function, None)
        except ImportError as error:
            raise InputError(expected=f"a module {module} that can be imported", got=str(error), hint=hint) from error
        if not callable(make):
            raise InputError(expected=f"a function {function} in {module}", got="none", hint=hint)
        study = make(path) if inspect.signature(make).parameters else make()
    if not isinstance(study, Study):
        raise InputError(expected="a function that returns a Study", got=type(study).__name__, hint=hint)
    if study.path.resolve() != path.resolve():
        raise InputError(
            expected=f"a study in {path}", got=f"one in {study.path}", hint="Let the function take the folder."
        )
    if not (may_be_new or was_there or is_recorded(study.folder)):
        shutil.rmtree(path)  # the empty study that the function has just made
        raise StorageError(
            expected=f"a recorded training in {path}", got="no such folder",
            hint="Check the path; study.record(optimizer) records a training.",
        )  # fmt: skip
    return study


def _do(path: Path, maker: str | None, as_json: bool, **how: Any) -> None:
    """Make every missing result of a study, of some stages and by some workers: see ``Study.analyse``."""
    hint_if_stopped(f"Finished parts are kept in {path}; give the same command to continue.")
    if maker is not None:
        with modules_of_this_folder():  # a loss or an evaluate may import when it is called
            made_study(path, maker).analyse(**how, progress=reporter_of(as_json))
        return
    from landscope.reproduction.experiment.run import ExperimentRun

    ExperimentRun.open(path).analyse(reporter_of(as_json), **how)


def _one_stage(path: Path, stage: str, maker: str | None, as_json: bool, **workers: Any) -> None:
    _do(path, maker, as_json, until=stage, **workers)
    if stage in _ARTEFACTS:
        if stage == "law" and not as_json:
            print_law(path)
        say(path, _ARTEFACTS[stage], as_json)
    else:
        finish(path, as_json)


@app.command
def analyse(
    folder: Run,
    *,
    study: Maker = None,
    noise: Annotated[bool, Parameter(help="Measure the minibatch noise too.", negative=())] = False,
    controls: Annotated[bool, Parameter(help="Measure the controls too.", negative=())] = False,
    dynamics: Annotated[bool, Parameter(help="Measure the dynamics too.", negative=())] = False,
    jobs: Jobs = 1,
    executor: Executor = "processes",
    as_json: AsJson = False,
) -> None:
    """Analyse a recorded training: modes, flatness, law with nulls, and a page.

    A stopped analysis continues with the same command. With OMP_NUM_THREADS=1, --jobs 4 shares the nulls too, and not
    only the directions. Example: landscope analyse runs/mine --study mymodule:make_study
    """
    _do(folder, study, as_json, noise=noise, controls=controls, dynamics=dynamics, jobs=jobs, executor=executor)
    finish(folder, as_json)


@app.command
def modes(folder: Run, *, study: Maker = None, as_json: AsJson = False) -> None:
    """Find the principal modes of a study; missing earlier stages run first.

    Example: landscope modes runs/mnist
    """
    _one_stage(folder, "modes", study, as_json)


@app.command
def flatness(
    folder: Run, *, study: Maker = None, jobs: Jobs = 1, executor: Executor = "processes", as_json: AsJson = False
) -> None:
    """Measure the flatness along the modes of a study; missing earlier stages run first.

    Example: landscope flatness runs/mnist
    """
    _one_stage(folder, "flatness", study, as_json, jobs=jobs, executor=executor)


@app.command
def law(
    folder: Run, *, study: Maker = None, jobs: Jobs = 1, executor: Executor = "processes", as_json: AsJson = False
) -> None:
    """Fit the variance-flatness law: in-sample, in fresh data, and under the null; missing earlier stages run first.

    Example: landscope law runs/mnist
    """
    _one_stage(folder, "law", study, as_json, jobs=jobs, executor=executor)


@app.command
def noise(
    folder: Run, *, study: Maker = None, jobs: Jobs = 1, executor: Executor = "processes", as_json: AsJson = False
) -> None:
    """Measure the minibatch noise of a study: springs, temperatures, drift, curvature (Figs. 3 and 5, S1 to S5).

    Nothing is trained again; missing earlier stages run first. Example: landscope noise runs/mnist
    """
    _one_stage(folder, "noise", study, as_json, jobs=jobs, executor=executor)


@app.command
def controls(
    folder: Run, *, study: Maker = None, jobs: Jobs = 1, executor: Executor = "processes", as_json: AsJson = False
) -> None:
    """Measure the controls: other directions, surrogates, one window corrected, and thermal equilibrium.

    Nothing is trained again; missing earlier stages run first. Example: landscope controls runs/mnist
    """
    _one_stage(folder, "controls", study, as_json, jobs=jobs, executor=executor)


@app.command
def dynamics(
    folder: Run, *, study: Maker = None, jobs: Jobs = 1, executor: Executor = "processes", as_json: AsJson = False
) -> None:
    """Measure the dynamics: the restoring force of all weights, responses to kicks, the edge of stability.

    The training goes on from the end of the window. Missing earlier stages run first. Example: landscope dynamics
    runs/mnist
    """
    _one_stage(folder, "dynamics", study, as_json, jobs=jobs, executor=executor)


@app.command
def report(folder: Run, *, as_json: AsJson = False) -> None:
    """Write report.html from the results of a study. No model is needed.

    For a folder of landscope run, missing stages run first. Example: landscope report runs/mnist
    """
    from landscope.study.run_file import has_run_file

    if has_run_file(folder):
        _do(folder, None, as_json, until="law")
    finish(folder, as_json)


@app.command
def claims(folder: Run, *, as_json: AsJson = False) -> None:
    """Show the paper's claims beside the measurements of a finished study.

    Example: landscope claims runs/mnist
    """
    from landscope.study import Study
    from landscope.study.remedies import remedies_of

    study = Study(folder)
    if "law" not in study.folder.timings():
        raise StorageError(
            expected=f"the results of the law stage in {folder}", got="none",
            hint=f"Give {remedies_of(folder).again} first.",
        )  # fmt: skip
    judgements = study.claims
    if as_json:
        plain = [
            {"claim": j.claim.key, "source": j.claim.source, "verdict": j.verdict, "sentence": j.sentence}
            for j in judgements
        ]
        print(json.dumps(plain, indent=2))
    else:
        Console().print(claims_table(judgements))
