"""Fig. 4, sec-S7 and sec-S8: what keeps a first task while a second one is learnt."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from landscope.claims.statements import judged
from landscope.reproduction.figures.fig4_claims import (
    PAPER_STRENGTH,
    PSI_KEYS,
    keeping_measurements,
    psi_measurements,
    wider_measurements,
)
from landscope.reproduction.figures.pairs import (
    Pair,
    headings,
    numbers_of,
    pair_jobs,
    protocol_of,
    rows_of,
    seeds_told,
    untuned_rows,
)
from landscope.reproduction.figures.recipe import Plan, Section, mean_with_interval
from landscope.reproduction.jobs import Job

__all__ = ["Keeping", "KeepingByLaw", "KeepingMore"]

_METHODS = (
    ("ldc-no-floor", 200), ("ldc-floor", 2), ("ldc-floor", 200), ("ldc-low-floor", 200), ("ldc-floor", 400),
    ("ldc-variance-floor", 400), ("ldc-fresh", 400), ("ldc-factored", 400), ("ldc-variance-factored", 400), ("kfac", 0),
    ("hessian", 200), ("fisher", 200), ("ewc", 0),
    ("ewc-empirical", 0), ("ewc-batch-mean", 0), ("random", 200), ("l2", 0),
)  # fmt: skip
_FEWER = (
    ("ldc-no-floor", 200),
    ("ldc-floor", 200),
    ("ldc-floor", 400),
    ("ldc-variance-factored", 400),
    ("kfac", 0),
    ("ewc", 0),
    ("ewc-empirical", 0),
    ("l2", 0),
)
_UNTUNED = (("ldc-no-floor", 200), ("ldc-floor", 200), ("ldc-floor", 400))
_COUNTS = (5, 10, 20, 50, 100, 200, 300, 400)
_WEIGHTS = (50, 100, 200, 500, 1000, 2000)
_DIGITS = ((0, 1), (2, 3))
PAIRS = (
    Pair("P", "P", _DIGITS, "tasks", 10, _METHODS, _COUNTS, _WEIGHTS, psi=True),
    Pair("A", "A", _DIGITS, "all", 10, _METHODS, _COUNTS, _WEIGHTS, psi=True),
)
"""Fig. 4: layers trained before on the tasks' own digits, or on all."""
MORE = (
    Pair("five-digits", "5 + 5 digits", ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9)), "all", 5, _FEWER, _COUNTS),
    Pair(
        "cifar", "CIFAR-10, animals then objects", ((2, 3, 4, 5, 6, 7), (0, 1, 8, 9)), "all", 5, _FEWER, _COUNTS,
        changes={"data": "cifar10", "network": "cifar-cnn", "learning_rate": 0.02},
    ),
)  # fmt: skip
"""sec-S8."""
_TEXT = (
    "Task 1 is the digits 0 and 1, task 2 the digits 2 and 3, all ten answers allowed. Input and output layers were "
    "trained before, on the digits of the tasks (P) or on all (A), and are frozen; the weights between the hidden "
    "layers start anew, learn task 1 until there is no training error, and a window more. Summed test errors in per "
    "cent after so many minibatches of task 2, mean and standard deviation over the reported seeds; every method at "
    "the strength of the smallest summed error on other seeds (edge: the first or last that was tried), every penalty "
    "taken as an implicit step. Where the window has fewer moving modes than a row names, all of them are held. Two "
    "modes store as much as the Kronecker factors do; the lower floor is that of the flattest of twice as many modes; "
    "factored constraints keep all modes as one Kronecker product; fresh steps are the second half of the window, the "
    "modes those of the first."
)
_TEXT_MORE = (
    "As Fig. 4, with five digits in each task, and with the animals, then the man-made objects of CIFAR-10, where the "
    "weights between the first two linear layers of the CNN learn and all others were trained on all classes before."
)


class Keeping:
    """Both pre-training choices over seeds, half as many again to choose strengths on."""

    key = "fig4"
    title = "Landscape-dependent constraints against forgetting (Fig. 4)"

    def jobs(self, plan: Plan) -> list[Job]:
        """One job a pre-training and seed."""
        return [job for pair in PAIRS for job in pair_jobs(plan, pair)]

    def sections(self, plan: Plan) -> list[Section]:
        """The table of methods, and the claims."""
        protocols = [protocol_of(plan, pair) for pair in PAIRS]
        values = {one.name: numbers_of(_METHODS, one) for one in protocols}
        judgements = judged(keeping_measurements(protocols[0]))
        rows = [*rows_of(_METHODS, protocols), *untuned_rows(_UNTUNED, protocols)]
        text = _TEXT + seeds_told(protocols[0])
        return [Section(self.key, self.title, text, headings(protocols), rows, judgements, values, protocols)]


class KeepingByLaw:
    """The same runs: flatness from the variance."""

    key = "sec-S7"
    title = "Constraints from the variance alone (sec-S7)"

    def jobs(self, plan: Plan) -> list[Job]:
        """Those of Fig. 4; what is there is kept."""
        return [job for pair in PAIRS for job in pair_jobs(plan, pair)]

    def sections(self, plan: Plan) -> list[Section]:
        """Errors by exponent, and the claim."""
        protocols = [protocol_of(plan, pair) for pair in PAIRS]
        names = ("ldc-no-floor", *PSI_KEYS.values())
        rows = [
            [label, *(_errors(one.at(name, PAPER_STRENGTH, stop).errors) for one in protocols for stop in one.stops)]
            for name, label in zip(names, ("F measured", "psi = 3", "psi = 4", "psi = 5"), strict=True)
        ]
        titles = ["flatness", *(f"{one.name}, {stop}" for one in protocols for stop in one.stops)]
        text = "Summed errors in per cent at lambda = 10 and 200 modes, no floor; Student's 95 % interval over seeds."
        judgements = judged(psi_measurements(protocols[0]))
        return [Section(self.key, self.title, text, titles, rows, judgements, {}, None)]


class KeepingMore:
    """Larger tasks, and another data set and network."""

    key = "sec-S8"
    title = "Larger tasks (sec-S8)"

    def jobs(self, plan: Plan) -> list[Job]:
        """One job a pair and seed; a quick reproduction has no CIFAR-10."""
        return [job for pair in _more(plan) for job in pair_jobs(plan, pair)]

    def sections(self, plan: Plan) -> list[Section]:
        """One table a pair, and the claim that constraints do better than EWC."""
        protocols = [protocol_of(plan, pair) for pair in _more(plan)]
        judgements = judged(wider_measurements(protocols))
        text = _TEXT_MORE + seeds_told(protocols[0])
        return [
            Section(
                f"{self.key}-{pair.key}", f"{self.title}: {pair.name}", text if number == 0 else "",
                headings([one]), rows_of(_FEWER, [one]), judgements, numbers_of(_FEWER, one), [one],
            )
            for number, (pair, one) in enumerate(zip(_more(plan), protocols, strict=True))
        ]  # fmt: skip


def _more(plan: Plan) -> Sequence[Pair]:
    return MORE[:1] if plan.quick else MORE


def _errors(errors: Tensor) -> str:
    return mean_with_interval((100 * errors.sum(dim=1)).tolist())
