"""Commands that train a built-in network into a study: run and train."""

from __future__ import annotations

from pathlib import Path

from landscope.cli.shared import (
    AsJson,
    Config,
    Options,
    Out,
    PrintConfig,
    app,
    finish,
    hint_if_stopped,
    reporter_of,
    say,
    settings_of,
)
from landscope.reproduction.experiment.settings import Settings

__all__ = ["run", "train"]


def _train(chosen: Settings, out: Path | None, until: str, as_json: bool) -> Path:
    """Train and analyse up to a stage, in a new folder or in that of the same settings."""
    from landscope.reproduction.experiment.run import ExperimentRun

    experiment = ExperimentRun.create(out or Path("runs") / Path(chosen.data).name, chosen)
    hint_if_stopped(f"Finished parts are kept in {experiment.path}; give the same command to continue.")
    experiment.analyse(reporter_of(as_json), until=until)
    return experiment.path


@app.command
def run(
    *,
    settings: Options = None,
    out: Out = None,
    config: Config = None,
    print_config: PrintConfig = False,
    as_json: AsJson = False,
) -> None:
    """Train a built-in network into a study and analyse it: all stages to the law, ending in a page.

    A stopped run continues with the same command. Example: landscope run --data mnist
    """
    chosen = settings_of(settings, config)
    if print_config:
        print(chosen.to_yaml(), end="")
        return
    finish(_train(chosen, out, "law", as_json), as_json)


@app.command
def train(
    *,
    settings: Options = None,
    out: Out = None,
    config: Config = None,
    print_config: PrintConfig = False,
    as_json: AsJson = False,
) -> None:
    """Train a built-in network and record its weights over two windows of the exploration phase.

    Example: landscope train --data mnist --seed 1 --out runs/mnist-1
    """
    chosen = settings_of(settings, config)
    if print_config:
        print(chosen.to_yaml(), end="")
        return
    say(_train(chosen, out, "train", as_json), "training.zarr.zip", as_json)
