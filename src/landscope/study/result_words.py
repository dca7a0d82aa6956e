"""The results of a study in words, with what makes them: a reason on the page names no file."""

from __future__ import annotations

__all__ = ["needed"]

_PROCESS = "ls.Study(..., n_processes=3)"
_BY_STAGE = "study.analyse({stage}=True), or landscope {stage} FOLDER"
_AGAIN = "study.analyse(), or landscope analyse FOLDER"
_WORDS = (
    ("basis-curvature", "the eigenvectors of the curvature", _PROCESS),
    ("basis-relaxation", "the eigenvectors of the curvature in the coordinates of the optimiser", _PROCESS),
    ("flatness-curvature", "the flatness along eigenvectors of the curvature", _PROCESS),
    ("flatness-relaxation", "the flatness along eigenvectors of the curvature", _PROCESS),
    ("window-limit", "psi_infinity of the process", _PROCESS),
    ("exponents-finite-window-", "the finite-window process", _PROCESS),
    ("exponents-next-finite-window-", "the finite-window process", _PROCESS),
    ("exponents-shuffled-", "steps in random order", "ls.Study(..., n_nulls=3)"),
    ("exponents-in-sample", "the exponents of the window", _AGAIN),
    ("exponents-fresh", "fresh data", "ls.Study(..., fresh=(first, last))"),
    ("exponents-sampling-", "a training that goes on from the end of the window", "ls.Study(..., train_on=f)"),
    ("flatness-and-curvature", "flatness beside curvature", _BY_STAGE.format(stage="noise")),
    ("noise-", "the noise of the minibatches", _BY_STAGE.format(stage="noise")),
    ("run-limit", "psi_infinity of the run", _BY_STAGE.format(stage="dynamics")),
    ("effective-curvature-", "the restoring force of all weights", _BY_STAGE.format(stage="dynamics")),
    *((f"controls-{name}", words, _BY_STAGE.format(stage="dynamics")) for name, words in (
        ("yaida", "the test of stationarity"), ("lyapunov", "the test of stationarity"),
        ("edge", "the edge of stability"), ("response", "the response to kicks"),
        ("invariant-flatness", "the flatness without units"),
        ("learning-coefficient", "the learning coefficient"),
    )),
    *((name, words, _BY_STAGE.format(stage="controls")) for name, words in (
        ("basis-hessian", "the Hessian eigenvectors"), ("flatness-hessian", "the flatness along Hessian eigenvectors"),
        ("basis-gradient-noise", "the gradient-noise eigenvectors"),
        ("flatness-gradient-noise", "the flatness along gradient-noise eigenvectors"),
        ("basis-random", "random directions"), ("flatness-random", "the flatness along random directions"),
        ("flatness-smaller-ratio", "the flatness at a smaller ratio"), ("controls-near", "the loss near w0"),
        ("one-window", "the variances of one window, corrected"), ("equilibrium", "thermal equilibrium"),
        ("growth", "the growth of the variance with the window"), ("sensitivity", "exponents under other choices"),
        ("exponents-", "the exponents along other directions and of the surrogates"),
    )),
    ("training", "losses and errors during the training", "ls.Study(..., evaluate=f)"),
    ("modes", "the principal modes", _AGAIN),
    ("statistics", "the variances along the modes", _AGAIN),
    ("spectrum", "the spectrum", _AGAIN),
    ("flatness", "the flatness of the modes", _AGAIN),
    ("drawn-modes", "the loss profiles", _AGAIN),
    ("profile", "the loss profiles", _AGAIN),
    ("rounding", "the steps that rounding takes away", _AGAIN),
)  # fmt: skip
"""Begin of the name of a result, what it is, and the call that makes it; the first that fits."""


def needed(name: str) -> str:
    """What is missing, and what to do, as the reason why something was not measured.

    Args:
        name: Name of the missing result in the folder.

    Example:
        >>> print(needed("basis-curvature"))
        needs the eigenvectors of the curvature: ls.Study(..., n_processes=3)
    """
    words = ((words, call) for begin, words, call in _WORDS if name.startswith(begin))
    what, call = next(words, ("a result that was not made", _AGAIN))
    return f"needs {what}: {call}"
