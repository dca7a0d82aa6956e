"""``landscope reproduce``: figures of the paper over seeds, and recipes of many runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from cyclopts import Parameter
from rich.console import Console

from landscope.cli.shared import (
    AsJson,
    Config,
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

__all__ = ["reproduce"]

_Recipe = Literal[
    "figures", "sec-S6", "fig6", "sec-S9", "branches", "fig4", "sec-S7", "sec-S8", "split-digits", "capacity",
    "continual", "language",
]  # fmt: skip
Figure = Literal["all", _Recipe, "fig1", "fig2", "fig3", "fig5", "sec-S2", "sec-S3", "fig-S7"]
_CHOSEN_BY_RECIPES = {
    "seed", "network", "optimizer", "momentum", "nesterov", "loss", "label_noise", "initial", "equal_norm", "select",
    "record_every", "sampling",
}  # fmt: skip
_RECIPES = get_args(_Recipe)


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
    from landscope.reproduction.pages.reproduction_page import write_reproduction_report
    from landscope.reproduction.pooling import reproduce as reproduce_runs

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
    chosen = settings_of(settings, config, data="mnist", flatness_modes=500, n_nulls=1)
    folder = out or Path("runs") / f"reproduce-{figure}-{Path(chosen.data).name}"
    hint_if_stopped(f"Finished runs are kept in {folder}; give the same command to go on.")
    wanted = _pairs(pairs, figure)
    pooled = reproduce_runs(folder, chosen, seeds=seeds, pairs=wanted, reporter=reporter_of(as_json), figure=figure)
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
    from landscope.reproduction.everything import reproduce_recipes
    from landscope.reproduction.figures import OF_THE_PAPER, QUICK, RECIPES
    from landscope.reproduction.figures.recipe import Plan
    from landscope.reproduction.pages.everything_page import write_everything_report

    if pairs:
        raise InputError(expected="--pairs with fig1 to fig-S7", got=figure, hint="Leave it out: recipes choose.")
    given = {*(settings.model_fields_set if settings else ()), *(Settings.from_yaml(config) if config else ())}
    if taken := sorted(given & _CHOSEN_BY_RECIPES):
        raise InputError(
            expected="recipes to choose network, optimiser, loss and seeds themselves",
            got=", ".join(f"--{name.replace('_', '-')}" for name in taken),
            hint="Leave them out; landscope run takes them.",
        )
    defaults = QUICK if quick else {"data": "mnist", "flatness_modes": 500, "n_nulls": 1}
    chosen = settings_of(settings, config, **defaults)
    suffix = "-quick" if quick else ""
    folder = out or Path("runs") / f"reproduce-{figure}-{Path(chosen.data).name}{suffix}"
    hint_if_stopped(f"Finished parts are kept in {folder}; give the same command to go on.")
    plan = Plan(folder, chosen, (2 if quick else 3) if seeds is None else seeds, quick)
    recipes = [RECIPES[key] for key in (OF_THE_PAPER if figure == "all" else [figure])]
    found = reproduce_recipes(plan, recipes, reporter_of(as_json), processes=jobs, after=write_everything_report)
    page = folder / "report.html"
    if as_json:
        print((folder / "numbers.json").read_text(encoding="utf-8"), end="")
    else:
        Console().print(claims_table(found.judgements))
        print(f"Numbers: {folder / 'claims.md'}\nReport: {page}")


def _pairs(text: str, figure: str) -> list[tuple[int, float]]:
    from landscope.reproduction.pooling import PAIRS

    if not text:
        return list(PAIRS if figure == "fig2" else PAIRS[:1])
    try:
        return [(int(b), float(a)) for b, a in (part.split(":") for part in text.split(","))]
    except ValueError:
        raise InputError(
            expected="--pairs as B:alpha,B:alpha", got=repr(text), hint="For example --pairs 50:0.1,100:0.1."
        ) from None
