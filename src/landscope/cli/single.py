"""Commands of one run: all stages, or one of them."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from landscope.cli.shared import (
    AsJson,
    Config,
    Options,
    Out,
    PrintConfig,
    Run,
    app,
    claims_table,
    do_stages,
    finish,
    open_or_create,
    say,
    settings_of,
)

__all__ = ["claims", "controls", "flatness", "law", "modes", "noise", "report", "run", "train"]


@app.command
def run(
    *,
    settings: Options = None,
    out: Out = None,
    config: Config = None,
    print_config: PrintConfig = False,
    as_json: AsJson = False,
) -> None:
    """Train a network and find its variance-flatness law: all stages, ending in a report.

    A run that was stopped goes on with the same command. Example: landscope run --data mnist
    """
    chosen = settings_of(settings, config)
    if print_config:
        print(chosen.to_yaml(), end="")
        return
    folder = open_or_create(out, chosen)
    do_stages(folder, "law", as_json)
    finish(folder, as_json)


@app.command
def train(
    *,
    settings: Options = None,
    out: Out = None,
    config: Config = None,
    print_config: PrintConfig = False,
    as_json: AsJson = False,
) -> None:
    """Train a network and record its weights over two windows of the exploration phase.

    Example: landscope train --data mnist --seed 1 --out runs/mnist-1
    """
    chosen = settings_of(settings, config)
    if print_config:
        print(chosen.to_yaml(), end="")
        return
    folder = open_or_create(out, chosen)
    do_stages(folder, "train", as_json)
    say(folder, "training.zarr.zip", as_json)


def _one_stage(path: Path, stage: str, artefact: str, as_json: bool) -> None:
    from landscope.study.folder import RunFolder

    folder = RunFolder.open(path)
    do_stages(folder, stage, as_json)
    say(folder, artefact, as_json)


@app.command
def modes(run: Run, *, as_json: AsJson = False) -> None:
    """Find the principal modes of a run (and do the stages before, if they are missing).

    Example: landscope modes runs/mnist
    """
    _one_stage(run, "modes", "modes.zarr.zip", as_json)


@app.command
def flatness(run: Run, *, as_json: AsJson = False) -> None:
    """Measure the flatness along the modes of a run.

    Example: landscope flatness runs/mnist
    """
    _one_stage(run, "flatness", "flatness.zarr.zip", as_json)


@app.command
def law(run: Run, *, as_json: AsJson = False) -> None:
    """Fit the variance-flatness law of a run, in-sample, in fresh data, and under the null.

    Example: landscope law runs/mnist
    """
    _one_stage(run, "law", "law.zarr.zip", as_json)


@app.command
def noise(run: Run, *, as_json: AsJson = False) -> None:
    """Measure the minibatch noise of a run: springs, temperatures, drift, curvature (Figs. 3 and 5, S1 to S5).

    Nothing is trained again. Example: landscope noise runs/mnist
    """
    _later_stage(run, "noise", as_json)


@app.command
def controls(run: Run, *, as_json: AsJson = False) -> None:
    """Put a run beside its controls: other directions, surrogates, samplings, and thermal equilibrium.

    Trains on from the saved end of the window for the samplings only. Example: landscope controls runs/mnist
    """
    _later_stage(run, "controls", as_json)


def _later_stage(path: Path, stage: str, as_json: bool) -> None:
    from landscope.study.folder import RunFolder

    folder = RunFolder.open(path)
    do_stages(folder, stage, as_json)
    finish(folder, as_json)


@app.command
def report(run: Run, *, as_json: AsJson = False) -> None:
    """Write report.html of a run (and do the stages before, if they are missing).

    Example: landscope report runs/mnist
    """
    from landscope.study.folder import RunFolder

    folder = RunFolder.open(run)
    do_stages(folder, "law", as_json)
    finish(folder, as_json)


@app.command
def claims(run: Run, *, as_json: AsJson = False) -> None:
    """Show the paper's claims beside what a finished run measured.

    Example: landscope claims runs/mnist
    """
    from landscope.study.folder import RunFolder
    from landscope.study.measured import judgements_of

    judgements = judgements_of(RunFolder.open(run))
    if as_json:
        plain = [
            {"claim": j.claim.key, "source": j.claim.source, "verdict": j.verdict, "sentence": j.sentence}
            for j in judgements
        ]
        print(json.dumps(plain, indent=2))
    else:
        Console().print(claims_table(judgements))
