"""The command that takes checkpoints on disk into a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from landscope.cli.shared import AsJson, Run, app
from landscope.cli.studies import made_study, modules_of_this_folder

__all__ = ["take_checkpoints"]


@app.command(name="import")
def take_checkpoints(
    folder: Run,
    checkpoints: Annotated[Path, Parameter(help="Folder of checkpoints: files, or checkpoint-* folders.")],
    *,
    study: Annotated[str, Parameter(help="module:function that makes the study, as function(folder).")],
    select: Annotated[
        list[str] | None, Parameter(help="Parameters that become the rows, by name or glob; all by default.")
    ] = None,
    steps_per_epoch: Annotated[
        int | None, Parameter(help="Optimiser steps in an epoch, where the names of the files count epochs.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take checkpoints that a training has saved into a study, and say what can be measured from them.

    Example: landscope import runs/mine outputs/checkpoints --study mymodule:make_study --select "head.*"
    """
    from landscope.study.importing import what_rows_offer

    with modules_of_this_folder():
        made = made_study(folder, study, may_be_new=True)
        made.use_checkpoints(checkpoints, select, steps_per_epoch=steps_per_epoch)
    offered = what_rows_offer(made.trajectory.steps)
    if as_json:
        print(json.dumps({"run": str(folder), "steps": made.saved_steps, "offers": offered}, indent=2))
        return
    print("\n".join([*offered, f"Next: landscope analyse {folder} --study {study}"]))
