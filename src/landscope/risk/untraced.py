"""Why a model is evaluated as a whole, in words that say what to change in its code."""

from __future__ import annotations

import linecache
import sys
import sysconfig
import traceback
from pathlib import Path

import torch
from torch import nn

from landscope.notices import is_about_user_code_alone, is_new, warn
from landscope.risk.equal_gradients import OtherGradientError

__all__ = ["SeveralInputsError", "is_in_user_code", "notice_whole_model", "reason_in_words"]

_LIBRARIES = str(Path(torch.__file__).parent), str(Path(__file__).parents[1])
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
_REASONS = (
    ("'len' is not supported", "calls len(...) of a tensor; write x.shape[0] in its place"),
    ("cannot be iterated", "loops over a tensor; write a loop over a fixed number"),
    ("item assignment", "writes into a tensor, as `x[0] = 1` does; write torch.where(...) in its place"),
    ("control flow", "makes a decision by the values of a tensor, as `if x.sum() > 0` does"),
    ("interpreted as an integer", "needs a plain number, as range(...) does, and gets one from a shape of the inputs"),
    ("must be a string or a real number", "turns a tensor into a plain number, as float(...) does"),
    ("int() argument", "turns a tensor into a plain number, as int(...) does"),
)
"""What torch says, and what the code of the user does there."""


class SeveralInputsError(Exception):
    """Batches of several inputs are not traced."""


def reason_in_words(error: Exception) -> str:
    """Why the operations of a model cannot be listed in advance, with the line of its code."""
    if isinstance(error, SeveralInputsError):
        return "it takes several inputs"
    if isinstance(error, OtherGradientError):
        return (
            "its gradient is not that of the operations in its forward method, as with a custom autograd.Function, "
            "torch.no_grad() or a hook"
        )
    if isinstance(error, AssertionError):
        return (
            "its forward method computes a value once, outside of torch, as .item() or .numpy() do, or changes what "
            "torch does in a part of it, as torch.autocast does"
        )
    known = [words for said, words in _REASONS if said in str(error)]
    return f"its forward method{_place(error)} {known[0] if known else 'does what torch.fx cannot trace'}"


def is_in_user_code(error: Exception, model: nn.Module) -> bool:
    """Whether the operations of a model cannot be listed because of code that the user wrote."""
    if isinstance(error, SeveralInputsError):
        return False
    if isinstance(error, OtherGradientError | AssertionError):  # they come from a comparison and have no line
        path = getattr(sys.modules.get(type(model).__module__), "__file__", None) or ""
    else:
        path = frame.filename if (frame := _frame(error)) else _INSTALLED[0]
    return not path.startswith((*_LIBRARIES, *_INSTALLED))


def _place(error: Exception) -> str:
    frame = _frame(error)
    if frame is None:
        return ""
    line = (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip()
    return f", at line {frame.lineno} of {Path(frame.filename).name} (`{line}`),"


def _frame(error: Exception) -> traceback.FrameSummary | None:
    """The last line of code outside of torch and landscope that led to an error."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    return next((frame for frame in frames if not frame.filename.startswith((*_LIBRARIES, "<"))), None)


def notice_whole_model(model: nn.Module, untraced: str, unskipped: str, *, is_user_code: bool) -> None:
    """Say once for each model, its copies included, that it is evaluated as a whole, and what would make that faster.

    Args:
        model: The model of the user.
        untraced: Why it is not traced.
        unskipped: Why none of its layers is skipped.
        is_user_code: Whether the first reason is a line that the user can change.
    """
    if is_about_user_code_alone() and not is_user_code:
        return
    message = (
        f"landscope evaluates the whole model ({type(model).__name__}) at every point. The results are the same, but "
        f"take longer. The reasons: {untraced}; and {unskipped}. To make it faster, "
        + ("change the code named here, or " if is_user_code else "")
        + "select weights of later layers: what comes before them is then evaluated once."
    )
    if is_new(model, message):
        warn(message)
