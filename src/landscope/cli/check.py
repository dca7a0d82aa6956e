"""The command that says whether a study is whole."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from landscope.cli.shared import AsJson, Run, app
from landscope.errors import StorageError

__all__ = ["check"]


@app.command
def check(folder: Run, *, as_json: AsJson = False) -> None:
    """Read every file of a study, and say what is damaged, what is lost with it, and what makes it whole again.

    What cannot be compared is said too. The exit status is 1 where something is damaged. Nothing is changed. Example:
    landscope check runs/mnist
    """
    from landscope.study.check import check_study, what_is_unknown
    from landscope.study.run_file import has_run_file

    if not (folder / "study.yaml").exists() and not has_run_file(folder):
        raise StorageError(expected=f"a study at {folder}", got="none", hint="Check the path.")
    _check_purpose(folder)
    damages = check_study(folder)
    if as_json:
        print(json.dumps([dataclasses.asdict(one) for one in damages], indent=2))
    elif not damages:
        print(f"{folder} is whole.")
    else:
        table = Table("file", "what is wrong", "what is lost", "what makes it whole", title=f"Damage in {folder}")
        for one in damages:
            table.add_row(one.file, one.problem, one.lost, one.remedy)
        Console().print(table)
    if not as_json:
        for sentence in what_is_unknown(folder):
            print(f"Not compared: {sentence}.")
    if damages:
        sys.exit(1)


def _check_purpose(folder: Path) -> None:
    """Raise where a folder holds tasks that were learnt one after another, and so is no study."""
    from landscope.study.run_file import read_run_file

    try:
        purpose = read_run_file(folder).purpose
    except StorageError:  # missing or damaged: the check names it
        return
    if purpose != "run":
        raise StorageError(
            expected=f"a study at {folder}",
            got=f"a folder of landscope {purpose}",
            hint=f"Give landscope {purpose} with its settings again: it makes what is missing.",
        )
