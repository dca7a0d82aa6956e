"""The command line: parse, one call, show. One command for each arrow of the flow."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic
from cyclopts import App, CycloptsError, Parameter
from rich.console import Console
from rich.table import Table

from landscope._version import __version__
from landscope.errors import InputError, LandscopeError
from landscope.settings import Settings

if TYPE_CHECKING:
    from landscope.run import RunFolder
    from landscope.run.progress import Reporter

__all__ = ["app", "main"]

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

Figure = Literal[
    "all", "figures", "sec-S6", "fig6", "sec-S9", "branches", "fig4", "sec-S7", "sec-S8",
    "fig1", "fig2", "fig3", "fig5", "sec-S2", "sec-S3", "fig-S7",
]  # fmt: skip
_CHOSEN_BY_RECIPES = {
    "seed", "network", "optimizer", "momentum", "nesterov", "loss", "label_noise", "initial", "equal_norm", "select",
    "record_every", "sampling",
}  # fmt: skip
_RECIPES = ("figures", "sec-S6", "fig6", "sec-S9", "branches", "fig4", "sec-S7", "sec-S8")

_interrupted_hint: list[str] = []


def _settings(options: Settings | None, config: Path | None, **fixed: Any) -> Settings:
    values = Settings.from_yaml(config) if config is not None else {}
    given = {name: getattr(options, name) for name in options.model_fields_set} if options is not None else {}
    return Settings.of({**fixed, **values, **given})


def _reporter(as_json: bool) -> Reporter:
    from landscope.run.progress import ConsoleReporter, QuietReporter

    return QuietReporter() if as_json else ConsoleReporter()


def _open_or_create(out: Path | None, settings: Settings) -> RunFolder:
    from landscope.run import RunFolder

    return RunFolder.create(out or Path("runs") / Path(settings.data).name, settings)


def _stages(run: RunFolder, until: str, as_json: bool) -> None:
    from landscope.run import run_stages

    _interrupted_hint[:] = [f"The run in {run.path} is whole as far as it went; give the same command to go on."]
    run_stages(run, _reporter(as_json), until=until)


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
    chosen = _settings(settings, config)
    if print_config:
        print(chosen.to_yaml(), end="")
        return
    folder = _open_or_create(out, chosen)
    _stages(folder, "law", as_json)
    _finish(folder, as_json)


def _finish(run: RunFolder, as_json: bool) -> None:
    from landscope.report import write_report
    from landscope.run.measured import judgements_of

    path = write_report(run)
    judgements = judgements_of(run)
    if as_json:
        verdicts = {judgement.claim.key: judgement.verdict for judgement in judgements}
        print(json.dumps({**run.summary(), "verdicts": verdicts, "report": str(path)}, indent=2))
        return
    console = Console()
    console.print(_claims_table(judgements))
    console.print(f"Report: {path}", soft_wrap=True, highlight=False)


def _claims_table(judgements: list) -> Table:
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
    chosen = _settings(settings, config)
    if print_config:
        print(chosen.to_yaml(), end="")
        return
    folder = _open_or_create(out, chosen)
    _stages(folder, "train", as_json)
    _say(folder, "training.zarr.zip", as_json)


def _say(run: RunFolder, artefact: str, as_json: bool) -> None:
    path = str(run.path / artefact)
    print(json.dumps({"run": str(run.path), "artefact": path}) if as_json else f"Ready: {path}")


def _one_stage(path: Path, stage: str, artefact: str, as_json: bool) -> None:
    from landscope.run import RunFolder

    folder = RunFolder.open(path)
    _stages(folder, stage, as_json)
    _say(folder, artefact, as_json)


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
    from landscope.run import RunFolder

    folder = RunFolder.open(path)
    _stages(folder, stage, as_json)
    _finish(folder, as_json)


@app.command
def report(run: Run, *, as_json: AsJson = False) -> None:
    """Write report.html of a run (and do the stages before, if they are missing).

    Example: landscope report runs/mnist
    """
    from landscope.run import RunFolder

    folder = RunFolder.open(run)
    _stages(folder, "law", as_json)
    _finish(folder, as_json)


@app.command
def claims(run: Run, *, as_json: AsJson = False) -> None:
    """Show the paper's claims beside what a finished run measured.

    Example: landscope claims runs/mnist
    """
    from landscope.run import RunFolder
    from landscope.run.measured import judgements_of

    judgements = judgements_of(RunFolder.open(run))
    if as_json:
        plain = [
            {"claim": j.claim.key, "source": j.claim.source, "verdict": j.verdict, "sentence": j.sentence}
            for j in judgements
        ]
        print(json.dumps(plain, indent=2))
    else:
        Console().print(_claims_table(judgements))


@app.command
def reproduce(
    figure: Figure,
    *,
    seeds: Annotated[int | None, Parameter(help="Number of seeds, from 0.")] = None,
    pairs: Annotated[
        str,
        Parameter(help="Batch sizes and learning rates of single figures, as B:alpha,B:alpha,...; three for fig2."),
    ] = "",
    quick: Annotated[bool, Parameter(help="Small sizes on the built-in data, in minutes.", negative=())] = False,
    jobs: Annotated[int, Parameter(help="Processes side by side, for recipes.")] = 1,
    settings: Options = None,
    out: Out = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Run a figure of the paper, or all, over seeds, with intervals and one page of claims.

    fig1 to fig5, sec-S2, sec-S3 and fig-S7 are of the paper's own network, fig2 over batch sizes and learning rates.
    Recipes train many: sec-S6 (other networks, optimisers, losses, data), fig6 (widths), sec-S9 (noise put into
    gradient descent), branches (from checkpoints), fig4, sec-S7 and sec-S8 (tasks learnt one after another),
    figures (all of the first kind), and all.

    Each run is kept in a folder of its own; a stopped reproduction goes on with the same command. Unless asked
    otherwise it takes MNIST, 500 modes and one surrogate a run. Example: landscope reproduce all --quick --jobs 2
    """
    if figure == "all" or figure in _RECIPES:
        _reproduce_recipes(figure, seeds, quick, jobs, pairs, settings, config, out, as_json)
        return
    from landscope.report import write_reproduction_report
    from landscope.run import reproduce as reproduce_runs

    if quick or jobs != 1:
        raise InputError(
            expected=f"--quick and --jobs with {', '.join(('all', *_RECIPES))}", got=figure, hint="Leave them out."
        )
    seeds = 5 if seeds is None else seeds
    given = {*(settings.model_fields_set if settings else ()), *(Settings.from_yaml(config) if config else ())}
    if taken := sorted(given & {"seed", "batch_size", "learning_rate"}):
        raise InputError(
            expected="seeds, batch sizes and learning rates as --seeds and --pairs",
            got=", ".join(taken),
            hint="For example --seeds 5 --pairs 50:0.1,100:0.1.",
        )
    chosen = _settings(settings, config, data="mnist", flatness_modes=500, surrogates=1)
    folder = out or Path("runs") / f"reproduce-{figure}-{Path(chosen.data).name}"
    _interrupted_hint[:] = [f"Finished runs are kept in {folder}; give the same command to go on."]
    wanted = _pairs(pairs, figure)
    pooled = reproduce_runs(folder, chosen, seeds=seeds, pairs=wanted, reporter=_reporter(as_json), figure=figure)
    page = write_reproduction_report(folder, pooled, figure, chosen.data)
    if as_json:
        print((folder / "table.json").read_text(encoding="utf-8"), end="")
    else:
        print((folder / "table.md").read_text(encoding="utf-8"))
        print(f"Report: {page}")


def _reproduce_recipes(
    figure: str,
    seeds: int | None,
    quick: bool,
    jobs: int,
    pairs: str,
    settings: Settings | None,
    config: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Recipes: one, or all of them."""
    from landscope.report import write_everything_report
    from landscope.run.everything import reproduce_recipes
    from landscope.run.recipes import QUICK, RECIPES, Plan

    if pairs:
        raise InputError(expected="--pairs with fig1 to fig-S7", got=figure, hint="Leave it out: recipes choose.")
    given = {*(settings.model_fields_set if settings else ()), *(Settings.from_yaml(config) if config else ())}
    if taken := sorted(given & _CHOSEN_BY_RECIPES):
        raise InputError(
            expected="recipes to choose network, optimiser, loss and seeds themselves",
            got=", ".join(f"--{name.replace('_', '-')}" for name in taken),
            hint="Leave them out; landscope run takes them.",
        )
    defaults = QUICK if quick else {"data": "mnist", "flatness_modes": 500, "surrogates": 1}
    chosen = _settings(settings, config, **defaults)
    suffix = "-quick" if quick else ""
    folder = out or Path("runs") / f"reproduce-{figure}-{Path(chosen.data).name}{suffix}"
    _interrupted_hint[:] = [f"Finished parts are kept in {folder}; give the same command to go on."]
    plan = Plan(folder, chosen, (2 if quick else 3) if seeds is None else seeds, quick)
    recipes = list(RECIPES.values()) if figure == "all" else [RECIPES[figure]]
    found = reproduce_recipes(plan, recipes, _reporter(as_json), processes=jobs, after=write_everything_report)
    page = folder / "report.html"
    if as_json:
        print((folder / "numbers.json").read_text(encoding="utf-8"), end="")
    else:
        Console().print(_claims_table(found.judgements))
        print(f"Numbers: {folder / 'claims.md'}\nReport: {page}")


def _pairs(text: str, figure: str) -> list[tuple[int, float]]:
    from landscope.run.reproduce import PAIRS

    if not text:
        return list(PAIRS if figure == "fig2" else PAIRS[:1])
    try:
        return [(int(b), float(a)) for b, a in (part.split(":") for part in text.split(","))]
    except ValueError:
        raise InputError(
            expected="--pairs as B:alpha,B:alpha", got=repr(text), hint="For example --pairs 50:0.1,100:0.1."
        ) from None


def _guarded(call: Callable[[], Any]) -> int:
    """Run a command; turn what went wrong into a line a person can use and an exit status."""
    try:
        call()
    except BrokenPipeError:  # the reader has seen enough
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print("\nStopped.", *_interrupted_hint, file=sys.stderr)
        return 130
    except CycloptsError as error:
        if isinstance(error.__cause__, pydantic.ValidationError):
            print(f"error: {Settings.explain(error.__cause__)}", file=sys.stderr)
        else:
            print(f"error: {error}", file=sys.stderr)
        return 2
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except LandscopeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def main(arguments: list[str] | None = None) -> None:
    """The entry point of ``landscope``.

    Args:
        arguments: Words of the command line; those of the process by default.
    """
    sys.exit(_guarded(lambda: app(arguments, exit_on_error=False, print_error=False)))
