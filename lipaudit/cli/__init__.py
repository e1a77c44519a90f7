"""The command line: parse, audit, render, exit. Errors become one line and an exit code here, and nowhere else."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import cast

import typer

from lipaudit.cli.stdout import abandon, occupy
from lipaudit.errors import LipauditError

# typer's usage errors, which it does not export by name: the parent of BadParameter in every version of it.
_UsageErrors = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and gives its exit code. Nothing but a report is ever printed to stdout."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    occupy()
    try:
        code = _run(given)
        if sys.stdout is not None:
            sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # how typer ends where the reader of its help has seen enough
        abandon()
        return 0
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted", INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the one place where every fault ends as a line and a code
        if "--debug" in given:
            traceback.print_exception(error, file=sys.stderr)
        return _say(*_explained(error))
    return _say("interrupted", INTERRUPTED) if code == INTERRUPTED else code  # typer makes an exit of Ctrl-C


def _run(arguments: list[str]) -> int:
    from lipaudit.cli.app import app

    outcome = app(args=arguments, prog_name="lipaudit", standalone_mode=False)
    return outcome if isinstance(outcome, int) else 0


def _explained(error: Exception) -> tuple[str, int]:
    """The line for a user and the exit code. What we did not foresee is our fault, and says so."""
    if isinstance(error, LipauditError):
        return str(error), error.exit_code
    if isinstance(error, _UsageErrors):
        context = error.ctx
        hint = f" (see {context.command_path} --help)" if context is not None else ""
        return f"{error.format_message().rstrip('.')}{hint}", 2
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error)):
        return "out of memory: nothing was decided", 3
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror or type(error).__name__}", 2
    said = f"internal error, please report: {type(error).__name__}: {error}"
    return f"{said} (--debug shows the traceback)", 4


def _say(message: str, code: int) -> int:
    from lipaudit.render.safe import safe

    try:
        print(f"lipaudit: error: {safe(message, 4000)}", file=sys.stderr, flush=True)  # noqa: T201
    except OSError:
        code = code or 2  # nobody listens; the exit code still tells
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError:
            abandon()
    return code
