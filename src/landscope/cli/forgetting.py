"""``landscope forget``: tasks one after another, and what keeps the earlier ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from landscope.cli.shared import AsJson, Config, app, claims_table, hint_if_stopped, reporter_of, settings_of
from landscope.reproduction.experiment.settings import ForgetOptions, TaskSettings

__all__ = ["forget"]

Wishes = Annotated[ForgetOptions | None, Parameter(name="*", consume_multiple=True, negative_iterable=())]
Trained = Annotated[TaskSettings | None, Parameter(name="*", consume_multiple=True, negative_iterable=())]
Folder = Annotated[Path | None, Parameter(help="Folder of the tasks; runs/forget-DATA by default.")]


@app.command
def forget(
    *,
    options: Wishes = None,
    settings: Trained = None,
    out: Folder = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Learn tasks one after another, without and with something that keeps the earlier ones; shows all errors live.

    Methods: ldc-no-floor (the paper's constraints), ldc-floor, ldc-low-floor, ldc-factored (two small matrices a
    layer); with F from the variance ldc-variance-floor, ldc-variance-factored, ldc-variance-no-floor (psi = 4),
    ldc-variance-psi3-no-floor, ldc-variance-psi5-no-floor and ldc-fresh; ewc, ewc-empirical, ewc-batch-mean,
    kfac, mas, hessian, fisher, random, l2, and joint for all tasks so far at once. A folder keeps all; more methods can
    be added to it. Example: landscope forget --methods ldc-floor --methods ewc:1000
    """
    from landscope.reproduction.experiment.folder import ExperimentFolder
    from landscope.reproduction.pages.forget_page import FORGET_HEADINGS, forget_rows, write_forget_report
    from landscope.reproduction.sequential.forget import check_request, forget_judgements, groups_of, numbers_of
    from landscope.reproduction.sequential.forget import forget as learn

    wishes, chosen = options or ForgetOptions(), settings_of(settings, config)
    check_request(wishes, chosen)
    folder = ExperimentFolder.create(out or Path("runs") / f"forget-{Path(chosen.data).name}", chosen, "continual")
    hint_if_stopped(f"Finished methods are kept in {folder.path}; give the same command to go on.")
    found = learn(folder, wishes, reporter_of(as_json))
    page = write_forget_report(folder, found)
    if as_json:
        rows = [numbers_of(one) for one in found]
        whole = {"tasks": groups_of(wishes.tasks), "found": rows, "report": str(page)}
        print(json.dumps(whole, indent=2, allow_nan=False))
        return
    console, table = Console(), Table(title="Errors after the last task (%)", title_justify="left")
    for heading in ("kept by", "average", "forgetting", *(f"task {name}" for name in found[0].tasks)):
        table.add_column(heading)
    for row in forget_rows(found):
        table.add_row(*row[:3], *row[len(FORGET_HEADINGS) :])  # the rest is on the page
    console.print(table)
    if judgements := forget_judgements(folder, found):
        console.print(claims_table(judgements))
    console.print(f"Report: {page}", soft_wrap=True, highlight=False)
