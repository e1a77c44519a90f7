"""Output files: they appear whole or not at all, and never in the place of something that was read."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
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
    """The file with this content, by way of a hidden one beside it. On failure the old file is left as it was."""
    target = path.resolve()  # a link keeps pointing where it did
    hidden = target.with_name(f".lipaudit-{secrets.token_hex(8)}")
    try:
        descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        hidden.replace(target)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        hidden.unlink(missing_ok=True)
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Makes the new name durable where the system lets a folder be synced."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        return
    finally:
        os.close(descriptor)
