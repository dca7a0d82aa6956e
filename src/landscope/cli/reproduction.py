"""``landscope reproduce``: figures of the paper over seeds, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from landscope.cli.shared import (
    AsJson,
    Config,
    Executor,
    Jobs,
    Options,
    Out,
    app,
    claims_table,
    hint_if_stopped,
    reporter_of,
    settings_of,
)
from landscope.errors import InputError
from landscope.reproduction.experiment.settings import Settings
from landscope.wording import without_nan

if TYPE_CHECKING:
    from landscope.reproduction.figures.figure import Figure
    from landscope.reproduction.reproduce import Reproduction

__all__ = ["reproduce"]

_SET_BY_FIGURES = {
    "seed", "network", "optimizer", "momentum", "nesterov", "loss", "label_noise", "initial", "equal_norm", "select",
    "record_every", "sampling",
}  # fmt: skip
_SET_BY_PAIRS = {"seed", "batch_size", "learning_rate"}


@app.command
def reproduce(
    figure: Annotated[str | None, Parameter(help="A figure or section, all, or figures; none lists them.")] = None,
    *,
    seeds: Annotated[int | None, Parameter(help="Number of seeds, from 0.")] = None,
    pairs: Annotated[
        str,
        Parameter(help="Batch sizes and learning rates of fig1 to fig-S7, as B:alpha,B:alpha,...; fig2 has three."),
    ] = "",
    quick: Annotated[bool, Parameter(help="Small sizes on the built-in data, in minutes.", negative=())] = False,
    jobs: Jobs = 1,
    executor: Executor = "processes",
    settings: Options = None,
    out: Out = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Reproduce a figure of the paper, or all, over seeds, with intervals and one page of claims.

    fig1, fig2, fig3, fig5, sec-S2, sec-S3 and fig-S7 need single runs of the paper's own network; figures stands for
    all of these. The others train other networks or other data: sec-S6 (optimisers, losses, data sets), fig6 (widths),
    sec-S9 (gradient descent with noise), branches (from checkpoints), fig4, sec-S7 and sec-S8 (tasks learnt one after
    another). all stands for every figure of the paper. Without a name all are listed, also those beyond the paper, such
    as findings and plateau (windows of finite length and without end).

    Each run has a folder of its own; the same command continues a stopped reproduction. The options below show the
    defaults of landscope run; here they are --data mnist --flatness-modes 500 --n-nulls 1, and with --quick those of
    small runs. Example: landscope reproduce all --quick --jobs 2
    """
    from landscope.reproduction.figures import DEFAULTS, QUICK
    from landscope.reproduction.figures.figure import Plan
    from landscope.reproduction.reproduce import reproduce as reproduce_figures

    if figure is None:
        _print_figures()
        return
    figures = _chosen(figure)
    wanted = _pairs(pairs, figure, figures)
    _refuse_settings(settings, config, figures)
    defaults = QUICK if quick else DEFAULTS
    chosen = settings_of(settings, config, **defaults)
    suffix = "-quick" if quick else ""
    folder = out or Path("runs") / f"reproduce-{figure}-{Path(chosen.data).name}{suffix}"
    hint_if_stopped(f"Finished parts are kept in {folder}; give the same command to go on.")
    usual = 2 if quick else 5 if len(figures) == 1 and _need_single_runs(figures) else 3
    plan = Plan(folder, chosen, usual if seeds is None else seeds, quick, wanted)
    results = reproduce_figures(plan, figures, reporter_of(as_json), processes=jobs, executor=executor)
    if as_json:
        print((folder / "numbers.json").read_text(encoding="utf-8"), end="")
    else:
        _print_results(results)
        print(f"Numbers: {folder / 'claims.md'}\nReport: {folder / 'report.html'}")


def _print_results(results: Reproduction) -> None:
    """The claims; where a figure judges each of its cases on its own, the tables of its sections."""
    if results.judgements:
        Console().print(claims_table(results.judgements))
        return
    for section in results.sections:
        if section.rows:
            table = Table(*section.headings, title=section.title, title_justify="left")
            for row in section.rows:
                table.add_row(*map(without_nan, row))
            Console().print(table, section.text, "", sep="\n")


def _print_figures() -> None:
    from landscope.reproduction.figures import FIGURES

    table = Table(title="landscope reproduce NAME", title_justify="left")
    for heading in ("name", "figure"):
        table.add_column(heading)
    for key, figure in FIGURES.items():
        table.add_row(key, figure.title)
    Console().print(table)


def _chosen(name: str) -> list[Figure]:
    """The figures that a name stands for."""
    from landscope.reproduction.figures import FIGURES, OF_SINGLE_RUNS, OF_THE_PAPER

    if name == "all":
        return list(OF_THE_PAPER)
    if name == "figures":
        return list(OF_SINGLE_RUNS)
    if name not in FIGURES:
        raise InputError(
            expected=f"one of all, figures, {', '.join(FIGURES)}", got=name, hint="landscope reproduce lists them."
        )
    return [FIGURES[name]]


def _need_single_runs(figures: list[Figure]) -> bool:
    """Whether single runs of the paper's own network are all that is needed."""
    from landscope.reproduction.figures.single_runs import SingleRuns

    return all(isinstance(figure, SingleRuns) for figure in figures)


def _refuse_settings(settings: Settings | None, config: Path | None, figures: list[Figure]) -> None:
    """Refuse settings that the figures set themselves."""
    given = {*(settings.model_fields_set if settings else ()), *(Settings.from_yaml(config) if config else ())}
    if _need_single_runs(figures):
        if refused := sorted(given & _SET_BY_PAIRS):
            raise InputError(
                expected="seeds, batch sizes and learning rates as --seeds and --pairs",
                got=", ".join(refused),
                hint="For example --seeds 5 --pairs 50:0.1,100:0.1.",
            )
    elif refused := sorted(given & _SET_BY_FIGURES):
        raise InputError(
            expected="figures to choose network, optimiser, loss and seeds themselves",
            got=", ".join(f"--{name.replace('_', '-')}" for name in refused),
            hint="Leave them out; landscope run takes them.",
        )


def _pairs(text: str, name: str, figures: list[Figure]) -> tuple[tuple[int, float], ...]:
    if not text:
        return ()
    if not _need_single_runs(figures):
        raise InputError(expected="--pairs with fig1 to fig-S7", got=name, hint="Leave it out: this one has its own.")
    try:
        return tuple((int(b), float(a)) for b, a in (part.split(":") for part in text.split(",")))
    except ValueError:
        raise InputError(
            expected="--pairs as B:alpha,B:alpha", got=repr(text), hint="For example --pairs 50:0.1,100:0.1."
        ) from None
