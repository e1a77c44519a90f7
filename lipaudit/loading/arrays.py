"""Arrays from files: inputs, labels and boxes as plain numpy, or one clear line why not. Never a pickle."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError

import numpy as np

from lipaudit.errors import InvalidInput
from lipaudit.loading.reading import read_bytes

MAX_BYTES = 2**33
"""Of one file, and of the array in it once it is unpacked."""

MAX_MEMBERS = 64
MAX_RATIO = 1100
"""Deflate packs zeros 1030 to 1; more is no honest archive."""

LARGE = 2**26
LARGE_RATIO = 200
"""Beyond so many bytes an array that packs better than this is a bomb rather than data."""

_KINDS = "fiub"


def split_spec(spec: str) -> tuple[Path, str | None]:
    """A file and the key after the colon: 'val.npz:x'. Without an .npz before it, a colon is part of the name."""
    name, colon, key = spec.rpartition(":")
    if colon and name.lower().endswith(".npz"):
        return Path(name), key
    return Path(spec), None


def read_array(spec: str, default: str = "x", what: str = "inputs") -> np.ndarray:
    """The finite, non-empty numbers of 'x.npy', 'x.npz:key', or an .npz that holds one array or the default key.

    Raises InvalidInput.
    """
    path, key = split_spec(spec)
    suffix = path.suffix.lower()
    if suffix not in (".npy", ".npz"):
        raise InvalidInput(f"{what} {spec} is no .npy or .npz file")
    content = read_bytes(path, what, MAX_BYTES)
    if suffix == ".npy":
        return numbers(_npy(content, f"{what} {spec}"), f"{what} {spec}")
    members = _members(content, f"{what} {path}")
    chosen = _choose(list(members), key, default, f"{what} {path}")
    return numbers(
        _npy(_unpack(content, members[chosen], f"{what} {path}"), f"{what} {path}:{chosen}"), f"{what} {spec}"
    )


def read_box(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(lower, upper) of a domain: the arrays lower and upper, lo and hi, or low and high of an .npz file."""
    what = f"domain {path}"
    if path.suffix.lower() != ".npz":
        raise InvalidInput(f"{what} is no .npz file; it needs two arrays, lower and upper")
    content = read_bytes(path, "domain", MAX_BYTES)
    members = _members(content, what)
    for low, high in (("lower", "upper"), ("lo", "hi"), ("low", "high")):
        if low in members and high in members:
            ends = [
                numbers(_npy(_unpack(content, members[k], what), f"{what}:{k}"), f"{what}:{k}") for k in (low, high)
            ]
            if ends[0].shape != ends[1].shape:
                raise InvalidInput(f"{what}: {low} has shape {list(ends[0].shape)}, {high} {list(ends[1].shape)}")
            return ends[0], ends[1]
    raise InvalidInput(f"{what} has no arrays lower and upper (it has: {', '.join(members) or 'none'})")


def numbers(array: np.ndarray, what: str) -> np.ndarray:
    """The array, if it holds real, finite numbers and at least one. Raises InvalidInput with the first bad index."""
    if array.size == 0:
        raise InvalidInput(f"{what} is empty: shape {list(array.shape)}")
    bad = ~np.isfinite(array)
    if bad.any():
        index = [int(i) for i in np.unravel_index(int(np.argmax(bad)), array.shape)]
        raise InvalidInput(f"{what} has {array[tuple(index)]} at index {index}, and {int(bad.sum())} such in all")
    return array


def as_batch(array: np.ndarray, shape: tuple[int, ...], what: str = "inputs") -> np.ndarray:
    """Samples [N, *shape], from [N, *shape], [N, *shape without its leading 1], flat rows, or one sample [*shape].

    A batch wins where both readings fit. Raises InvalidInput with both shapes.
    """
    short = shape[1:] if shape[:1] == (1,) else shape
    size = math.prod(shape)
    if (array.ndim == 2 and array.shape[1] == size and array.shape not in (shape, short)) or (
        array.shape[1:] in (shape, short) and array.ndim
    ):
        count = len(array)
    elif array.shape in (shape, short):
        count = 1
    else:
        given, wanted = list(array.shape), list(shape)
        raise InvalidInput(
            f"{what}: the file has shape {given}, the model takes {wanted}, so {['N', *wanted]} is needed"
        )
    if count == 0:
        raise InvalidInput(f"{what}: there are no samples")
    return array.reshape(count, *shape)


def as_labels(array: np.ndarray, count: int, classes: int, what: str = "labels") -> np.ndarray:
    """Whole numbers [count] below `classes`, as int64. Raises InvalidInput with the first label that is none."""
    flat = array.reshape(-1) if array.size == len(np.atleast_1d(array)) else None
    if flat is None or len(flat) != count:
        raise InvalidInput(f"{what}: shape {list(array.shape)} is not one label for each of {count} samples")
    flat = flat.astype(np.float64)
    bad = (flat != np.floor(flat)) | (flat < 0) | (flat >= classes)
    if bad.any():
        index = int(np.argmax(bad))
        said = "a whole number" if flat[index] != np.floor(flat[index]) else f"one of the classes 0..{classes - 1}"
        raise InvalidInput(f"{what}: {flat[index]:g} at index {index} is not {said}")
    return flat.astype(np.int64)


def _members(content: bytes, what: str) -> dict[str, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise InvalidInput(f"{what} is no .npz archive") from None
    if len(entries) > MAX_MEMBERS:
        raise InvalidInput(f"{what} has {len(entries)} members, more than the {MAX_MEMBERS} that are read")
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        name = entry.filename.removesuffix(".npy")
        if not name.isprintable():
            raise InvalidInput(f"{what} has an array with the name {name!r}, which cannot be printed")
        if name in found:
            raise InvalidInput(f"{what} has two arrays {name!r}")
        found[name] = entry
    return found


def _choose(names: list[str], key: str | None, default: str, what: str) -> str:
    if key is None and len(names) == 1:
        return names[0]
    chosen = default if key is None else key
    if chosen not in names:
        hint = "name one after a colon" if key is None else "no such array"
        raise InvalidInput(f"{what} has no array {chosen!r}: {hint} (it has: {', '.join(names) or 'none'})")
    return chosen


def _unpack(content: bytes, entry: zipfile.ZipInfo, what: str) -> bytes:
    ratio = entry.file_size / max(entry.compress_size, 1)
    bomb = ratio > MAX_RATIO or (entry.file_size > LARGE and ratio > LARGE_RATIO)
    if entry.file_size > MAX_BYTES or bomb:
        raise InvalidInput(f"{what}: {entry.filename} unpacks to {entry.file_size} bytes, which is not read")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidInput(f"{what}: {entry.filename} is packed in a way that numpy never writes")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.read(entry)
    except (zlib.error, zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError, OSError):
        raise InvalidInput(f"{what}: {entry.filename} is damaged") from None


def _npy(content: bytes, what: str) -> np.ndarray:
    """The array of an .npy file. Its header is checked against the file's length before anything is allocated."""
    stream = io.BytesIO(content)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(stream)
        shape, fortran, dtype = readers[version](stream, max_header_size=10_000)
    except (ValueError, EOFError, SyntaxError, TokenError, TypeError, KeyError, MemoryError, RecursionError):
        raise InvalidInput(f"{what} is no .npy data") from None
    shape = tuple(int(n) for n in shape)  # True passes for a whole number
    if dtype.kind not in _KINDS:
        held = "objects (a pickle), which are never read" if dtype.hasobject else f"{dtype}, not real numbers"
        raise InvalidInput(f"{what} holds {held}")
    count, start = math.prod(shape), stream.tell()
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(content) - start:
        raise InvalidInput(f"{what} is cut short or too long: its header says {list(shape)} of {dtype}")
    array = np.frombuffer(content, dtype, count, start).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="))  # a copy of its own: torch warns of memory that cannot be written
