"""The results of a study in words, with what makes them: a reason on the page names no file."""

from __future__ import annotations

__all__ = ["FURTHER", "makes_stage", "needed"]

FURTHER = ("noise", "controls", "dynamics")
"""Stages that an analysis makes where it is told to, in order."""
_EVERY = "law"
"""Last of the stages that every analysis makes."""
_PROCESS = "ls.Study(..., n_processes=3)"
_WORDS = (
    ("basis-curvature", "the eigenvectors of the curvature", _PROCESS),
    ("basis-relaxation", "the eigenvectors of the curvature in the coordinates of the optimiser", _PROCESS),
    ("flatness-curvature", "the flatness along eigenvectors of the curvature", _PROCESS),
    ("flatness-relaxation", "the flatness along eigenvectors of the curvature", _PROCESS),
    ("window-limit", "psi_infinity of the process", _PROCESS),
    ("exponents-finite-window-", "the finite-window process", _PROCESS),
    ("exponents-next-finite-window-", "the finite-window process", _PROCESS),
    ("exponents-shuffled-", "steps in random order", "ls.Study(..., n_nulls=3)"),
    ("exponents-in-sample", "the exponents of the window", _EVERY),
    ("exponents-fresh", "fresh data", "ls.Study(..., fresh=(first, last))"),
    ("exponents-sampling-", "a training that goes on from the end of the window", "ls.Study(..., train_on=f)"),
    ("flatness-and-curvature", "flatness beside curvature", "noise"),
    ("noise-modes-over-training", "the turning of the modes", "noise"),
    ("noise-", "the noise of the minibatches", "noise"),
    ("run-limit", "psi_infinity of the run", "dynamics"),
    ("effective-curvature-", "the restoring force of all weights", "dynamics"),
    *((f"controls-{name}", words, "dynamics") for name, words in (
        ("yaida", "the test of stationarity"), ("lyapunov", "the test of stationarity"),
        ("edge", "the edge of stability"), ("response", "the response to kicks"),
        ("invariant-flatness", "the flatness without units"),
        ("learning-coefficient", "the learning coefficient"),
        ("sharpness-over-training", "the sharpness over the training"),
    )),
    *((name, words, "controls") for name, words in (
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
    ("modes", "the principal modes", _EVERY),
    ("statistics", "the variances along the modes", _EVERY),
    ("spectrum", "the spectrum", _EVERY),
    ("flatness", "the flatness of the modes", _EVERY),
    ("drawn-modes", "the loss profiles", _EVERY),
    ("profile", "the loss profiles", _EVERY),
    ("rounding", "the steps that rounding takes away", _EVERY),
)  # fmt: skip
"""Begin of the name of a result, what it is, and the stage or the call that makes it; the first that fits."""


def makes_stage(stage: str, *, is_run: bool) -> str:
    """The call and the command that make a stage.

    Args:
        stage: Name of the stage.
        is_run: Whether the study is that of ``landscope run``; a command needs the function that makes another one.

    Example:
        >>> makes_stage("noise", is_run=True)
        'study.analyse(noise=True), or landscope noise FOLDER'
        >>> makes_stage("law", is_run=False)
        'study.analyse(), or landscope analyse FOLDER --study module:function'
    """
    is_further = stage in FURTHER
    call, command = (f"{stage}=True", stage) if is_further else ("", "analyse")
    maker = "" if is_run else " --study module:function"
    return f"study.analyse({call}), or landscope {command} FOLDER{maker}"


def needed(name: str, *, is_run: bool) -> str:
    """What is missing, and what to do, as the reason why something was not measured.

    Args:
        name: Name of the missing result in the folder.
        is_run: Whether the study is that of ``landscope run``.

    Example:
        >>> print(needed("basis-curvature", is_run=False))
        needs the eigenvectors of the curvature: ls.Study(..., n_processes=3)
    """
    known = ((words, how) for begin, words, how in _WORDS if name.startswith(begin))
    what, how = next(known, ("a result that was not made", _EVERY))
    call = makes_stage(how, is_run=is_run) if how in (*FURTHER, _EVERY) else how
    return f"needs {what}: {call}"
