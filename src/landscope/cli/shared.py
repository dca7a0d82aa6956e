"""What all commands share: options, settings, progress, and what is printed at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from landscope._version import __version__
from landscope.reproduction.experiment.settings import Settings, TaskSettings

if TYPE_CHECKING:
    from landscope.progress import Reporter

__all__ = [
    "AsJson", "Config", "Executor", "Jobs", "Options", "Out", "PrintConfig", "Run", "app", "claims_table", "finish",
    "hint_if_stopped", "interrupted_hint", "print_law", "reporter_of", "say", "settings_of",
]  # fmt: skip

app = App(
    name="landscope",
    version=__version__,
    help="Record a training run and measure its loss landscape along the directions of its fluctuations.",
    help_on_error=False,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

Options = Annotated[Settings | None, Parameter(name="*", consume_multiple=True, negative_iterable=())]
Out = Annotated[Path | None, Parameter(help="Folder of the run; runs/DATA by default.")]
Config = Annotated[Path | None, Parameter(help="YAML file of settings; options on the command line override it.")]
PrintConfig = Annotated[bool, Parameter(help="Print the settings as YAML and do nothing.", negative=())]
AsJson = Annotated[bool, Parameter(name="--json", help="Print JSON on standard output, and no progress.", negative=())]
Run = Annotated[Path, Parameter(help="Folder of a study.")]
Jobs = Annotated[int, Parameter(help="Number of workers that share the work.")]
Executor = Annotated[
    str, Parameter(help="Where they are: processes, ray, dask, or ray:ADDRESS, dask:ADDRESS for a cluster.")
]


interrupted_hint: list[str] = []


def hint_if_stopped(text: str) -> None:
    """Keep what to print when the command is interrupted."""
    interrupted_hint[:] = [text]


def settings_of(options: TaskSettings | None, config: Path | None, **fixed: Any) -> Settings:
    """Settings from a file and the line; the line goes first, and what is fixed last."""
    values = Settings.from_yaml(config) if config is not None else {}
    given = {name: getattr(options, name) for name in options.model_fields_set} if options is not None else {}
    return Settings.of({**fixed, **values, **given})


def reporter_of(as_json: bool) -> Reporter:
    """Progress on the console, or none beside JSON."""
    from landscope.progress import ConsoleReporter, QuietReporter

    return QuietReporter() if as_json else ConsoleReporter()


def finish(path: Path, as_json: bool) -> None:
    """Write the page of a study and show its claims."""
    from landscope.files.atomic import plain_values
    from landscope.study import Study

    study, page = Study(path), _write_page(path)
    judgements = study.claims
    if as_json:
        verdicts = {judgement.claim.key: judgement.verdict for judgement in judgements}
        print(json.dumps(plain_values({**study.summary(), "verdicts": verdicts, "report": str(page)}), indent=2))
        return
    console = Console()
    print_law(path)
    console.print(claims_table(judgements))
    console.print(f"Report: {page}", soft_wrap=True, highlight=False)


def print_law(path: Path) -> None:
    """Print the table of exponents, where the law stage made one."""
    from landscope.study import Study

    study = Study(path)
    if "law" in study.folder.timings():
        print(study.law, end="\n\n")


def _write_page(path: Path) -> Path:
    """The page of a study, with what is known of a built-in network."""
    from landscope.study import Study
    from landscope.study.run_file import has_run_file

    if has_run_file(path):
        from landscope.reproduction.experiment.run import ExperimentRun

        return ExperimentRun.open(path).report()
    return Study(path).report()


def claims_table(judgements: list) -> Group:
    """Claims and their verdicts: the main ones first, then the others, then how many chance may have made."""
    from landscope.claims.multiplicity import false_verdicts
    from landscope.report.claim_groups import claim_groups, verdict_counts

    tables = [_claims_of(heading, group) for heading, group in claim_groups(judgements)]
    counts = Table("verdict", "claims", "with a 95 % interval", "without", title="Verdicts", title_justify="left")
    for name, *numbers in verdict_counts(judgements):
        counts.add_row(name, *map(str, numbers))
    return Group(*tables, counts, Text(str(false_verdicts(judgements))))


def _claims_of(heading: str, judgements: list) -> Table:
    table = Table(title=heading, title_justify="left")
    for column in ("source", "claim", "verdict", "why"):
        table.add_column(column)
    colours = {"reproduced": "green", "contested": "yellow", "undecided": "blue", "not reproduced": "red"}
    for judgement in judgements:
        colour = colours.get(judgement.verdict, "dim")
        table.add_row(
            judgement.claim.source, judgement.claim.statement, f"[{colour}]{judgement.verdict}[/]", judgement.sentence
        )
    return table


def say(path: Path, artefact: str, as_json: bool) -> None:
    """Say where a result is."""
    file = str(path / artefact)
    print(json.dumps({"run": str(path), "artefact": file}) if as_json else f"Ready: {file}")
