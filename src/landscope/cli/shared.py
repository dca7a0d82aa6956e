"""What all commands share: options, settings, progress, and what is printed at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from landscope._version import __version__
from landscope.reproduction.experiment.settings import Settings, TaskSettings

if TYPE_CHECKING:
    from landscope.progress import Reporter
    from landscope.study.folder import RunFolder

__all__ = [
    "AsJson", "Config", "Options", "Out", "PrintConfig", "Run", "app", "claims_table", "do_stages", "finish",
    "hint_if_stopped", "interrupted_hint", "open_or_create", "reporter_of", "say", "settings_of",
]  # fmt: skip

app = App(
    name="landscope",
    version=__version__,
    help="Show what a training run does in the loss landscape.",
    help_on_error=False,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

Options = Annotated[Settings | None, Parameter(name="*", consume_multiple=True, negative_iterable=())]
Out = Annotated[Path | None, Parameter(help="Folder of the run; runs/DATA by default.")]
Config = Annotated[Path | None, Parameter(help="YAML file of settings; options on the line go first.")]
PrintConfig = Annotated[bool, Parameter(help="Print the settings as YAML and do nothing.", negative=())]
AsJson = Annotated[bool, Parameter(name="--json", help="Print JSON on standard output, and no progress.", negative=())]
Run = Annotated[Path, Parameter(help="Folder of a run.")]


interrupted_hint: list[str] = []


def hint_if_stopped(text: str) -> None:
    """What to say to a person who stops the command."""
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


def open_or_create(out: Path | None, settings: Settings) -> RunFolder:
    """The run in a folder, or a new one."""
    from landscope.study.folder import RunFolder

    return RunFolder.create(out or Path("runs") / Path(settings.data).name, settings)


def do_stages(run: RunFolder, until: str, as_json: bool) -> None:
    """Do the stages of a run that are missing, as far as one of them."""
    from landscope.study.pipeline import run_stages

    hint_if_stopped(f"The run in {run.path} is whole as far as it went; give the same command to go on.")
    run_stages(run, reporter_of(as_json), until=until)


def finish(run: RunFolder, as_json: bool) -> None:
    """Write the page of a run and show its claims."""
    from landscope.report.run_page import write_report
    from landscope.study.measured import judgements_of

    path = write_report(run)
    judgements = judgements_of(run)
    if as_json:
        verdicts = {judgement.claim.key: judgement.verdict for judgement in judgements}
        print(json.dumps({**run.summary(), "verdicts": verdicts, "report": str(path)}, indent=2))
        return
    console = Console()
    console.print(claims_table(judgements))
    console.print(f"Report: {path}", soft_wrap=True, highlight=False)


def claims_table(judgements: list) -> Table:
    """The paper's claims and their verdicts."""
    table = Table(title="Against Feng & Tu, PNAS 2021", title_justify="left")
    for heading in ("source", "claim", "verdict", "why"):
        table.add_column(heading)
    colours = {"reproduced": "green", "contested": "yellow", "undecided": "blue", "not reproduced": "red"}
    for judgement in judgements:
        colour = colours.get(judgement.verdict, "dim")
        table.add_row(
            judgement.claim.source, judgement.claim.statement, f"[{colour}]{judgement.verdict}[/]", judgement.sentence
        )
    return table


def say(run: RunFolder, artefact: str, as_json: bool) -> None:
    """Say where something lies."""
    path = str(run.path / artefact)
    print(json.dumps({"run": str(run.path), "artefact": path}) if as_json else f"Ready: {path}")
