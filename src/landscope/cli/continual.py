"""``landscope continual``: learn tasks one after another, with and without methods against forgetting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from landscope.cli.shared import AsJson, Config, app, claims_table, hint_if_stopped, reporter_of, settings_of
from landscope.reproduction.experiment.settings import ContinualOptions, TaskSettings

__all__ = ["continual"]

Options = Annotated[ContinualOptions | None, Parameter(name="*", consume_multiple=True, negative_iterable=())]
Trained = Annotated[TaskSettings | None, Parameter(name="*", consume_multiple=True, negative_iterable=())]
Folder = Annotated[Path | None, Parameter(help="Folder of the results; runs/continual-DATA by default.")]


@app.command
def continual(
    *,
    options: Options = None,
    settings: Trained = None,
    out: Folder = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Learn tasks one after another, without any method and with methods that protect earlier tasks.

    Errors of all tasks are shown while each is learnt. Methods: ldc-no-floor (the paper's constraints), ldc-floor,
    ldc-low-floor, ldc-factored (two small matrices a layer); with F from the variance ldc-variance-floor,
    ldc-variance-factored, ldc-variance-no-floor (psi = 4), ldc-variance-psi3-no-floor, ldc-variance-psi5-no-floor and
    ldc-fresh; basin, basin-default, basin-budget (5 %), basin-budget-at-end; ewc, ewc-empirical, ewc-batch-mean, kfac,
    mas, hessian, fisher, random, l2; si, gpm, ogd, replay, interpolation, midpoint; and joint (all tasks so far
    together). A folder keeps all results; repeat the command with other methods to add them.
    Example: landscope continual --methods ldc-floor --methods ewc:1000
    """
    from landscope.reproduction.continual_page import HEADINGS, judgements_of, table_rows, write_continual_report
    from landscope.reproduction.experiment.folder import ExperimentFolder
    from landscope.reproduction.sequential.command import check_request, learn_in_folder, numbers_of, parse_groups

    chosen, run_settings = options or ContinualOptions(), settings_of(settings, config)
    check_request(chosen, run_settings)
    path = out or Path("runs") / f"continual-{Path(run_settings.data).name}"
    folder = ExperimentFolder.create(path, run_settings, "continual")
    hint_if_stopped(f"Finished methods are kept in {folder.path}; give the same command to go on.")
    results = learn_in_folder(folder, chosen, reporter_of(as_json))
    page = write_continual_report(folder, results)
    if as_json:
        numbers = [numbers_of(result) for result in results]
        content = {"tasks": parse_groups(chosen.tasks), "results": numbers, "report": str(page)}
        print(json.dumps(content, indent=2, allow_nan=False))
        return
    console, table = Console(), Table(title="Errors after the last task (%)", title_justify="left")
    for heading in ("method", "average", "forgetting", *(f"task {name}" for name in results[0].tasks)):
        table.add_column(heading)
    for row in table_rows(results):
        table.add_row(*row[:3], *row[len(HEADINGS) :])  # the other columns are on the page
    console.print(table)
    if judgements := judgements_of(folder, results):
        console.print(claims_table(judgements))
    console.print(f"Report: {page}", soft_wrap=True, highlight=False)
