"""The command line: parse, one call, show. One command for each arrow of the flow."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import pydantic
from cyclopts import CycloptsError

from landscope.cli import check as check
from landscope.cli import continual as continual
from landscope.cli import importing as importing
from landscope.cli import reproduction as reproduction
from landscope.cli import studies as studies
from landscope.cli import training as training
from landscope.cli.shared import app, interrupted_hint
from landscope.errors import InputError, LandscopeError
from landscope.reproduction.experiment.settings import Settings
from landscope.study.settings import explain_settings_error

__all__ = ["app", "main"]


def _guarded(call: Callable[[], Any]) -> int:
    """Run a command; turn what went wrong into a line a person can use and an exit status."""
    try:
        call()
    except BrokenPipeError:  # the reader has seen enough
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        # zarr's reads and writes that were under way end as tasks nobody waits for: asyncio would print each.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        print("\nStopped.", *interrupted_hint, file=sys.stderr)
        return 130
    except CycloptsError as error:
        if isinstance(error.__cause__, pydantic.ValidationError):
            print(f"error: {explain_settings_error(Settings, error.__cause__)}", file=sys.stderr)
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
    # A thread that waits for another one sleeps: beside a busy process, one that spins keeps the core which the other
    # needs, and an eigendecomposition takes ten times as long and more. OpenMP reads this when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(_guarded(lambda: app(arguments, exit_on_error=False, print_error=False)))
