"""`lipaudit verify`: a certificate checked again, by code that knows nothing of what wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lipaudit.cli import stdout
from lipaudit.errors import InvalidInput

REJECTED = 3
_LARGEST = 2**31


def verify(
    certificate: Annotated[Path, typer.Argument(metavar="CERTIFICATE", help="Written by bound --certificate FILE.")],
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The ONNX file that it is of.")],
) -> int:
    """Check a certificate again, independently.

    With its own reader, its own rules and its own arithmetic; nothing of the audit is used. Exit code 3 where it proves
    nothing of this model.
    """
    contents = [_read(path) for path in (certificate, model)]

    from lipaudit.checker import Rejected
    from lipaudit.checker import verify as check
    from lipaudit.render import numbers
    from lipaudit.render.safe import safe

    try:
        found = check(*contents)
    except Rejected as rejected:
        stdout.write(f"REJECTED: {safe(str(rejected), 400)}\n")
        return REJECTED
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"certificate {certificate} is no JSON: {error}") from None
    what = f"{safe(found.input)} -> {safe(found.output)}, all inputs, real arithmetic"
    stdout.write(f"VERIFIED: L <= {numbers.upper(found.value, 6)}   l2 -> l2, {what}\n  sha256 {found.sha256}\n")
    return 0


def _read(path: Path) -> bytes:
    if path.is_file() and path.stat().st_size > _LARGEST:
        raise InvalidInput(f"{path} is larger than the {_LARGEST} bytes that are read")
    return path.read_bytes()
