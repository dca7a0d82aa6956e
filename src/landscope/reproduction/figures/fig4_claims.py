"""Fig. 4 and S7: does holding the weights in the valley of a task keep it?"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Collection, Mapping, Sequence

import torch

from landscope.claims.verdict import Control, Measurement
from landscope.law.intervals import seed_interval
from landscope.reproduction.sequential.ablations import PSI_METHODS
from landscope.reproduction.sequential.comparison import Tuned, at_strength, error_by_count, strengths_of, tuned
from landscope.reproduction.sequential.sequence import TasksInTurn
from landscope.reproduction.sequential.two_tasks import Forgetting

__all__ = [
    "PAPER_BOUND",
    "PAPER_STRENGTH",
    "PSI_KEYS",
    "Protocol",
    "capacity_measurements",
    "fewest_modes",
    "in_turn_measurements",
    "keeping_measurements",
    "psi_measurements",
    "wider_measurements",
]

PAPER_STRENGTH = 10.0
"""lambda of Fig. 4."""
PAPER_MODES = 200
"""N_c of Fig. 4."""
PAPER_BOUND = 0.008
"""q/F of Fig. 4D."""
PSI_KEYS = {psi: method.key for psi, method in PSI_METHODS.items()}
"""Keys of the methods with F from the variance, by psi."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """One way to prepare the network, over seeds.

    Args:
        name: What a person reads.
        reported: The seeds that are reported.
        tuning: Other seeds, on which strengths are chosen.
        n_modes: N_c of the paper.
        stops: Minibatches of the second task: the paper's early look, an epoch, and long after.
    """

    name: str
    reported: Sequence[Forgetting]
    tuning: Sequence[Forgetting]
    n_modes: int
    stops: tuple[int, int, int]

    def at(self, method: str, strength: float, step: int, n_modes: int | None = None) -> Tuned:
        """A method at a given strength."""
        return at_strength(method, strength, self.n_modes if n_modes is None else n_modes, step, self.reported)

    def best(self, method: str, step: int, n_modes: int | None = None, among: Collection[float] | None = None) -> Tuned:
        """A method at the strength that the tuning seeds found best, of all that were tried or among some."""
        count = self.n_modes if n_modes is None else n_modes
        return tuned(method, count, step, self.reported, self.tuning, among)

    def error_by_count(self, method: str) -> list[dict[int, float]]:
        """Summed error of each seed after an epoch, by the number of modes held at the paper's strength."""
        return [error_by_count(one, method, PAPER_STRENGTH, self.stops[1]) for one in self.reported]

    def counts(self, method: str) -> list[int]:
        """How many directions, or weights, a method was tried with, each at several strengths; 0 for all weights."""
        rows = zip(self.tuning[0].method, self.tuning[0].n_modes.tolist(), strict=True)
        counts = sorted({count for name, count in rows if name == method})
        return [count for count in counts if len(strengths_of(self.tuning[0], method, count)) > 1]


def keeping_measurements(own: Protocol) -> dict[str, Measurement]:
    """What one protocol says on the claims of Fig. 4, in points of a per cent.

    Args:
        own: The paper's: layers pre-trained on the tasks' own classes.

    Returns:
        Measurements by claim.
    """
    _, epoch, late = own.stops
    constrained = own.at("ldc-no-floor", PAPER_STRENGTH, epoch)
    return {
        "forgetting": _mean(_first(own.at("none", math.nan, epoch, 0))),
        "constraint_keeps": _mean(_first(constrained), _random(own, epoch)),
        "constraint_learns": _difference(_second(constrained), _second(own.at("none", math.nan, epoch, 0))),
        "constraint_lasts": _mean(_first(own.at("ldc-no-floor", PAPER_STRENGTH, late)), _random(own, late)),
        "displacement_bound": _bound(own, epoch),
        "better_than_ewc": _against_ewc(own, epoch),
        "few_modes_suffice": _best_count(own),
        "ewc_needs_all": _ewc_share(own, epoch),
    }


def in_turn_measurements(found: Sequence[TasksInTurn], step: int) -> dict[str, Measurement]:
    """What one seed says in the paper's setting: errors of the first task after an epoch of the second.

    Args:
        found: Without anything, and with methods; watched while they learnt.
        step: Minibatches of an epoch of the second task.

    Returns:
        Measurements by claim, without intervals.
    """
    measured = {}
    for one in found:
        seen = (one.watched_task == 1) & (one.watched_step >= step)
        if not bool(seen.any()):
            continue
        place = int(seen.nonzero()[0])
        value = 100 * float(one.watched_error[place, 0])
        note = f"one seed, after {int(one.watched_step[place])} minibatches"
        paper = (
            one.method == "ldc-no-floor" and math.isclose(one.strength, PAPER_STRENGTH) and one.n_modes == PAPER_MODES
        )
        if one.method == "none":
            measured["forgetting"] = Measurement(value, note=note)
        elif paper:
            measured["constraint_keeps"] = Measurement(value, note=note)
    return measured


def psi_measurements(own: Protocol) -> dict[str, Measurement]:
    """Whether the exponent matters that flatness is taken from the variance with (sec-S7)."""
    return {"any_psi": _psi_spread(own, own.stops[1])}


def wider_measurements(protocols: Sequence[Protocol]) -> dict[str, Measurement]:
    """The difference from EWC on larger tasks: of all pairs of tasks the one where it is largest (sec-S8)."""
    found = {one.name: _against_ewc(one, one.stops[1]) for one in protocols}
    worst = max(found, key=lambda name: found[name].value)
    note = "; ".join(f"{name}: {m.value:+.2f} ({m.note})" for name, m in found.items())
    return {"better_on_larger_tasks": dataclasses.replace(found[worst], note=note)}


def _first(found: Tuned) -> list[float]:
    return (100 * found.errors[:, 0]).tolist()


def _second(found: Tuned) -> list[float]:
    return (100 * found.errors[:, -1]).tolist()


def _summed(found: Tuned) -> list[float]:
    return [100 * value for value in found.summed]


def _mean(values: Sequence[float], *controls: Control, note: str = "") -> Measurement:
    return Measurement(sum(values) / len(values), seed_interval(list(values)), controls, note)


def _difference(first: Sequence[float], second: Sequence[float], *controls: Control, note: str = "") -> Measurement:
    return _mean([a - b for a, b in zip(first, second, strict=True)], *controls, note=note)


def _random(own: Protocol, step: int) -> Control:
    values = _first(own.at("random", PAPER_STRENGTH, step))
    return Control("as many random directions, as stiff", seed_interval(values), "differ")


def _bound(own: Protocol, step: int) -> Measurement:
    """The 95th percentile of q_i/F_i over the constrained modes."""
    shares = [_percentile(one, "ldc-no-floor", step) for one in own.reported]
    free = [_percentile(one, "none", step) for one in own.reported]
    return _mean(shares, Control("without constraint", seed_interval(free), "differ"))


def _percentile(found: Forgetting, method: str, step: int) -> float:
    (row,) = (row for row, number in enumerate(found.moved) if found.method[number] == method)
    ratio = found.displacement[row, found.step.tolist().index(step)] / found.flatness
    return float(torch.nanquantile(ratio[: min(len(ratio), _constrained(found))], 0.95))


def _constrained(found: Forgetting) -> int:
    """N_c of the trial whose displacements were kept."""
    return max(int(found.n_modes[number]) for number in found.moved)


def _against_ewc(own: Protocol, step: int) -> Measurement:
    """Summed error of tuned constraints minus that of tuned EWC, seed by seed."""
    mine = _summed(own.best("ldc-no-floor", step))
    told = {
        "EWC with the empirical Fisher": own.best("ewc-empirical", step, 0),
        "Kronecker-factored EWC": own.best("kfac", step, 0),
        "the distance from w1": own.best("l2", step, 0),
    }
    note = "; ".join(f"against {name} {_difference(mine, _summed(other)).value:+.2f}" for name, other in told.items())
    return _difference(mine, _summed(own.best("ewc", step, 0)), note=note)


def _best_count(own: Protocol) -> Measurement:
    counts = sorted(own.error_by_count("ldc-no-floor")[0])
    if sum(count < own.n_modes / 2 for count in counts) < 2:
        return Measurement(math.nan, note=f"only {', '.join(map(str, counts))} modes were tried")
    note = f"tried {', '.join(map(str, counts))} at lambda = {PAPER_STRENGTH:g}; within a tenth of the smallest error"
    return _mean(fewest_modes(own), note=note)


def fewest_modes(own: Protocol) -> list[float]:
    """N_c* of every seed: the fewest modes whose summed error is within a tenth of the smallest, after an epoch."""
    found = []
    for errors in own.error_by_count("ldc-no-floor"):
        level = 1.1 * min(errors.values())
        found.append(float(min(count for count, error in errors.items() if error <= level)))
    return found


def capacity_measurements(found: Mapping[tuple[int, int], Protocol]) -> dict[str, Measurement]:
    """Whether more modes remember more: N_c* for the most classes a task over that for the fewest, at one width.

    Its control is the same of N_c* over the number of modes that moved: what is held may grow only as there is more.

    Args:
        found: Hidden width and classes a task -> protocol, the paper's width and two classes among them.

    Returns:
        The measurement of the claim ``memory_in_modes``.
    """
    width = statistics.mode(width for width, _ in found)
    classes = sorted(count for w, count in found if w == width)
    few, many = found[width, classes[0]], found[width, classes[-1]]
    ratio, interval = _mean_ratio(fewest_modes(many), fewest_modes(few))
    _, shares = _mean_ratio(_shares_of_moving(many), _shares_of_moving(few))
    control = Control("N_c* over the number of modes that moved", shares, "agree")
    widths = [
        f"{w}: {statistics.fmean(fewest_modes(one)):.0f}" for (w, count), one in found.items() if count == classes[0]
    ]
    note = f"{classes[-1]} against {classes[0]} classes a task; by width, at {classes[0]}, {', '.join(widths)}"
    return {"memory_in_modes": Measurement(ratio, interval, (control,), note)}


def _shares_of_moving(own: Protocol) -> list[float]:
    """N_c* of every seed over all the modes its window has: a longer window of more data has more of them."""
    return [count / one.n_moving for count, one in zip(fewest_modes(own), own.reported, strict=True)]


def _mean_ratio(above: Sequence[float], below: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Geometric mean over seeds, and its interval."""
    logs = [math.log(a / b) for a, b in zip(above, below, strict=True)]
    low, high = seed_interval(logs)
    return math.exp(statistics.fmean(logs)), (math.exp(low), math.exp(high))


def _ewc_share(own: Protocol, step: int) -> Measurement:
    """The share of weights at which EWC, tuned alike at each number, does best, in each seed; of equals the fewest."""
    counts, dim = own.counts("ewc"), own.reported[0].dim
    shared = set.intersection(*(set(strengths_of(own.tuning[0], "ewc", count)) for count in counts))
    found = {count or dim: _summed(own.best("ewc", step, count, shared)) for count in counts}
    best = [min(found, key=lambda count: (found[count][seed], count)) for seed in range(len(own.reported))]
    return _mean([count / dim for count in best], note=f"of {', '.join(str(count) for count in sorted(found))} weights")


def _psi_spread(own: Protocol, step: int) -> Measurement:
    """Largest difference of summed error between the exponents, in each seed, beside that to measured flatness."""
    columns = [_summed(own.at(method, PAPER_STRENGTH, step)) for method in PSI_KEYS.values()]
    measured = _summed(own.at("ldc-no-floor", PAPER_STRENGTH, step))
    spread = [max(row) - min(row) for row in zip(*columns, strict=True)]
    means = ", ".join(f"psi {psi}: {sum(c) / len(c):.2f}" for psi, c in zip(PSI_KEYS, columns, strict=True))
    return _mean(spread, note=f"summed errors {means}; F measured: {sum(measured) / len(measured):.2f}")
