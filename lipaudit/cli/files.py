"""Output files: they appear whole or not at all, and never in the place of something that was read."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from lipaudit.errors import UsageError


def check_target(path: Path, protected: Iterable[Path]) -> None:
    """Raises UsageError for a path that cannot or must not be written: before an audit, not after it."""
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {path.parent}")
    if path.exists() and not path.is_file():
        raise UsageError(f"cannot write {path}: it is no regular file")
    for source in protected:
        if path.exists() and source.exists() and path.samefile(source):
            raise UsageError(f"will not overwrite {source}, which is an input of this audit")


def write_whole(path: Path, content: bytes) -> None:
    """The file with this content, by way of a hidden one beside it, synced and then renamed.

    On failure the old file is left as it was, and nothing else stays behind. A link keeps pointing where it did: its
    target is replaced. Raises UsageError.
    """
    hidden: str | None = None
    try:
        target = os.path.realpath(path)
        if os.path.islink(target):  # noqa: PTH114
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        hidden = os.path.join(os.path.dirname(target), f".lipaudit-{secrets.token_hex(8)}")  # noqa: PTH118, PTH120
        descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            _write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(hidden, target)  # noqa: PTH105
        hidden = None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        if hidden is not None:
            with suppress(OSError):
                os.unlink(hidden)  # noqa: PTH108
    _sync_folder(os.path.dirname(target))  # noqa: PTH120


def append_whole(path: Path, content: bytes) -> None:
    """Adds to the file's end, all of the content or nothing of it. Raises UsageError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            before = os.fstat(descriptor).st_size
            try:
                _write_all(descriptor, content)
                os.fsync(descriptor)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


def _write_all(descriptor: int, content: bytes) -> None:
    """Writes until nothing is left: a write may take only a part. Raises OSError."""
    rest = memoryview(content)
    while rest:
        taken = os.write(descriptor, rest)
        if taken <= 0:
            raise OSError("nothing more could be written")
        rest = rest[taken:]


def _sync_folder(folder: str) -> None:
    """Makes the new name durable where the system lets a folder be synced: the file itself is whole either way."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
