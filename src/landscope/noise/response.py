"""The response of a training to a kick, beside its fluctuations: an effective temperature by direction."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from landscope._checks import check_count, check_finite, check_momentum, check_positive
from landscope.errors import InputError
from landscope.results import Result, stamp

__all__ = ["DirectResponse", "direct_response"]

_MOST_NONLINEAR = 0.1
"""Relative change of the response under a halved kick above which it is not linear. The odd terms left over go as the
square of the kick, so the response to the full kick is then off by 4/3 of it."""

_BY_LAG = ("response", "response_stderr", "correlation", "displacement", "mobility", "temperature_by_lag")
_BY_MODE = (
    "ranks",
    "temperature",
    "temperature_stderr",
    "noise_temperature",
    "nonlinearity",
    "is_linear",
    "drift_share",
    "kick",
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DirectResponse(
    Result,
    kind="direct_response",
    dims={
        **dict.fromkeys(_BY_LAG, ("mode", "lag")),
        **dict.fromkeys(_BY_MODE, ("mode",)),
        "temperature_without": ("repetition", "mode"),
    },
):
    """Response and fluctuation along a few directions, for lags of 0 to n steps.

    Args:
        response: chi_i(t), displacement at lag t over the kick, mean over repetitions, ``[k, n + 1]``.
        response_stderr: Its standard error, from the spread over repetitions.
        correlation: Autocovariance C_i(t) of the unkicked runs about their mean.
        displacement: Mean squared displacement of the unkicked runs in t steps; 2(C_i(0) - C_i(t)) if stationary.
        mobility: X_i(t), displacement after t steps by a constant unit force; NaN without a learning rate.
        temperature_by_lag: T_eff,i(t) in units of the loss; NaN at lag 0.
        temperature: T_eff,i at the longest lag, ``[k]``; NaN where the response is not linear or not positive.
        temperature_stderr: Its standard error, by the jackknife over repetitions.
        temperature_without: T_eff,i without each repetition in turn, ``[repetitions, k]``.
        noise_temperature: T_eff,i at a lag of one step, D_i/(2 alpha) for plain SGD: the noise alone, no response.
        nonlinearity: Relative change of the response when the kick is halved.
        is_linear: Whether that change is at most 0.1.
        drift_share: Share of the mean squared displacement at the longest lag that a steady drift makes.
        kick: Size eps_i of the kick.
        ranks: Ranks of the directions among the modes, counted from 1.
        learning_rate: Learning rate alpha; NaN if the steps are not those of SGD.
        momentum: Momentum beta.
    """

    response: Float[Tensor, "k lags"]
    response_stderr: Float[Tensor, "k lags"]
    correlation: Float[Tensor, "k lags"]
    displacement: Float[Tensor, "k lags"]
    mobility: Float[Tensor, "k lags"]
    temperature_by_lag: Float[Tensor, "k lags"]
    temperature: Float[Tensor, " k"]
    temperature_stderr: Float[Tensor, " k"]
    temperature_without: Float[Tensor, "r k"]
    noise_temperature: Float[Tensor, " k"]
    nonlinearity: Float[Tensor, " k"]
    is_linear: Bool[Tensor, " k"]
    drift_share: Float[Tensor, " k"]
    kick: Float[Tensor, " k"]
    ranks: Int[Tensor, " k"]
    learning_rate: float
    momentum: float


def direct_response(
    unkicked: Float[Tensor, "r T k"],
    kicked: Float[Tensor, "r 2 T k"],
    halved: Float[Tensor, "h 2 T k"],
    kick: Float[Tensor, " k"],
    *,
    learning_rate: float | None = None,
    momentum: float = 0.0,
    n_lags: int | None = None,
) -> DirectResponse:
    r"""Compare the response to a kick with the fluctuations (fluctuation-dissipation relation).

    Twin runs on the same minibatches start eps_i apart along direction i. With theta^+ and theta^- from kicks of both
    signs, which cancels the even terms,

    .. math:: \chi_i(t) = \frac{\langle\theta_i^+(t) - \theta_i^-(t)\rangle}{2\epsilon_i}, \qquad
              X_i(t) = \alpha \sum_{s<t} \chi_i(s), \qquad
              T_{\mathrm{eff},i}(t) = \frac{\langle[\theta_i(s + t) - \theta_i(s)]^2\rangle}{2 X_i(t)}.

    X_i is the displacement by a constant unit force: a force of one step displaces SGD by alpha, as a kick of that size
    does; with momentum beta it goes on as :math:`G(t+1) = \beta G(t) + \alpha\chi(t)`, and X sums G. In thermal
    equilibrium T_eff is the same at every lag and in every direction: the Einstein relation (Cugliandolo, Kurchan &
    Peliti, PRE 55, 3898). An AR(1) process of coefficient a has :math:`\chi = a^t`, and :math:`T = D/(2\alpha)` at
    every lag. Displacements need no mean, so neither stationarity nor the length of the window enters; nor do PCA and
    flatness. With momentum only lags beyond 1/(1 - beta) count.

    The cost is that of the sums: repetitions x rows x lags x directions.

    Args:
        unkicked: theta_i(t) of the unkicked runs, start included, ``[repetitions, T, k]``, at least two repetitions.
        kicked: Component i of the run kicked along i, by +eps_i and -eps_i, ``[repetitions, 2, T, k]``.
        halved: The same with half the kick, for the first of the repetitions, ``[h, 2, T, k]``.
        kick: Sizes eps_i, above 0.
        learning_rate: Learning rate alpha of SGD; None for another optimiser, whose steps are no forces times a
            number: the temperatures are then NaN.
        momentum: Momentum beta of SGD.
        n_lags: Longest lag; a quarter of the steps by default.

    Returns:
        The response, the fluctuations and the temperatures, in float64.

    Raises:
        InputError: If shapes do not fit, there are fewer than two repetitions, or a number is out of its range.
        NonFiniteError: If a component is NaN or infinite: a run diverged.

    Example:
        >>> import torch
        >>> from landscope.synthetic import autoregressive
        >>> a, steps = torch.tensor([0.5, 0.9], dtype=torch.float64), torch.arange(1001)[:, None]
        >>> path = autoregressive(a, 2002, seed=0).reshape(2, 1001, 2)
        >>> pair = torch.stack([path + a**steps, path - a**steps], dim=1)
        >>> half = torch.stack([path + a**steps / 2, path - a**steps / 2], dim=1)
        >>> found = direct_response(path, pair, half, torch.ones(2), learning_rate=0.1, n_lags=20)
        >>> [round(x, 6) for x in found.response[:, 1].tolist()]
        [0.5, 0.9]
        >>> bool(((found.temperature * 0.1 * (1 + a) - 1).abs() < 0.2).all())  # D = 2/(1 + a)
        True
    """
    paths, pairs, halves, eps = _checked(unkicked, kicked, halved, kick)
    n_steps = paths.shape[1] - 1
    n_lags = check_count("n_lags", n_steps // 4 if n_lags is None else n_lags, maximum=n_steps)
    rate = math.nan if learning_rate is None else check_positive("learning_rate", learning_rate)
    check_momentum(momentum)
    kept = slice(n_lags + 1)
    responses = (pairs[:, 0] - pairs[:, 1])[:, kept] / (2 * eps)
    squares = _squared_displacements(paths, n_lags)
    mobilities = _mobility(responses, rate, momentum)
    nonlinearity = _nonlinearity(responses[: len(halves)], (halves[:, 0] - halves[:, 1])[:, kept] / eps)
    is_linear = nonlinearity <= _MOST_NONLINEAR
    by_lag = _temperature(squares.mean(dim=0), mobilities.mean(dim=0))
    last = torch.where(is_linear, 1.0, math.nan)
    without = torch.stack([
        _temperature(_others(squares, row)[-1:], _others(mobilities, row)[-1:])[0] * last for row in range(len(paths))
    ])  # fmt: skip
    count = len(paths)
    return DirectResponse(
        response=responses.mean(dim=0).T.contiguous(),
        response_stderr=(responses.std(dim=0) / math.sqrt(count)).T.contiguous(),
        correlation=_correlation(paths, n_lags).T.contiguous(),
        displacement=squares.mean(dim=0).T.contiguous(),
        mobility=mobilities.mean(dim=0).T.contiguous(),
        temperature_by_lag=by_lag.T.contiguous(),
        temperature=by_lag[-1] * last,
        temperature_stderr=((count - 1) / count * (without - without.mean(dim=0)).square().sum(dim=0)).sqrt(),
        temperature_without=without,
        noise_temperature=by_lag[1],
        nonlinearity=nonlinearity,
        is_linear=is_linear,
        drift_share=_drift_share(paths, squares.mean(dim=0)[-1], n_lags),
        kick=eps,
        ranks=torch.arange(1, len(eps) + 1),
        learning_rate=rate,
        momentum=momentum,
        provenance=stamp(learning_rate=learning_rate, momentum=momentum, n_lags=n_lags),
    )


def _checked(unkicked: Tensor, kicked: Tensor, halved: Tensor, kick: Tensor) -> tuple[Tensor, ...]:
    """The components in float64, if all are there for the same directions and steps."""
    count, rows, k = unkicked.shape
    check_count("repetitions", count, minimum=2, hint="The error comes from their spread.")
    check_count("rows of a run", rows, minimum=3, hint="Take more steps.")
    shapes = {
        "kicked": (kicked, (count, 2, rows, k)),
        "halved": (halved, (len(halved), 2, rows, k)),
        "kick": (kick, (k,)),
    }
    for name, (value, shape) in shapes.items():
        if tuple(value.shape) != shape:
            raise InputError(
                expected=f"{name} of shape {shape}, as the unkicked runs have {count} repetitions of {rows} rows and "
                f"{k} directions",
                got=f"{tuple(value.shape)}",
                hint="Keep component i of the run that was kicked along direction i, with its start.",
            )
    if not 1 <= len(halved) <= count:
        raise InputError(
            expected=f"halved kicks in 1 to {count} repetitions", got=f"{len(halved)}", hint="One shows linearity."
        )
    if not bool((kick > 0).all()):
        raise InputError(expected="kicks above 0", got=f"{float(kick.min())}", hint="Leave out still directions.")
    hint = "Take a smaller kick: a run diverged."
    return tuple(check_finite("components", part.double(), hint=hint) for part in (unkicked, kicked, halved, kick))


def _squared_displacements(paths: Tensor, n_lags: int) -> Float[Tensor, "r lags k"]:
    """Mean over origins of the squared displacement at each lag."""
    rows = paths.shape[1]
    lags = [(paths[:, lag:] - paths[:, : rows - lag]).square().mean(dim=1) for lag in range(n_lags + 1)]
    return torch.stack(lags, dim=1)


def _correlation(paths: Tensor, n_lags: int) -> Float[Tensor, "lags k"]:
    centred, rows = paths - paths.mean(dim=(0, 1)), paths.shape[1]
    return torch.stack([(centred[:, lag:] * centred[:, : rows - lag]).mean(dim=(0, 1)) for lag in range(n_lags + 1)])


def _mobility(responses: Tensor, rate: float, momentum: float) -> Tensor:
    """Displacement by a constant unit force: the sum of the responses to the forces of single steps."""
    impulse, total = torch.zeros_like(responses[:, 0]), torch.zeros_like(responses)
    for lag in range(1, responses.shape[1]):
        impulse = momentum * impulse + rate * responses[:, lag - 1]
        total[:, lag] = total[:, lag - 1] + impulse
    return total


def _temperature(squares: Tensor, mobility: Tensor) -> Tensor:
    return torch.where(mobility > 0, squares / (2 * mobility), math.nan)


def _others(values: Tensor, row: int) -> Tensor:
    """The mean without one repetition."""
    return (values.sum(dim=0) - values[row]) / (len(values) - 1)


def _nonlinearity(full: Tensor, half: Tensor) -> Float[Tensor, " k"]:
    """Root mean square over lags and repetitions of the change, over that of the response to half the kick."""
    return ((full - half).square().mean(dim=(0, 1)) / half.square().mean(dim=(0, 1))).sqrt()


def _drift_share(paths: Tensor, squares: Tensor, lag: int) -> Float[Tensor, " k"]:
    steady = (paths[:, -1] - paths[:, 0]).mean(dim=0) / (paths.shape[1] - 1)
    return (steady * lag).square() / squares
