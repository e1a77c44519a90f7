"""Arrays from files: what is read is right, and what is not read says why in one line."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lipaudit.errors import InvalidInput
from lipaudit.loading.arrays import as_batch, as_labels, read_array, read_box


class Trap:
    """A pickle that would leave a trace if it were ever opened."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, ("/tmp/lipaudit-was-here", "w"))


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def header(shape: str, descr: str = "<f8") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (63 - (len(text) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        np.arange(6, dtype=">f8"),
        np.arange(6, dtype=np.uint8),
        np.array([True, False]),
        np.array([1.5], dtype=np.float16),
        np.array(3.0),
        np.arange(10.0)[::-2],
    ],
)
def test_reads_what_numpy_wrote(tmp_path: Path, array: np.ndarray) -> None:
    (tmp_path / "x.npy").write_bytes(npy(array))
    found = read_array(str(tmp_path / "x.npy"))
    assert np.array_equal(found, array)
    assert found.dtype.isnative
    assert found.flags.writeable


def test_keys_of_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.ones(2), y=np.zeros(3))
    assert read_array(f"{path}:y").shape == (3,)
    assert read_array(str(path)).shape == (2,)
    assert read_array(str(path), "y", "labels").shape == (3,)
    np.savez_compressed(path, only=np.zeros((5000, 100)))
    assert read_array(str(path)).shape == (5000, 100)
    with pytest.raises(InvalidInput, match=r"has no array 'z': no such array \(it has: only\)"):
        read_array(f"{path}:z")
    np.savez(path, a=np.ones(2), b=np.zeros(3))
    with pytest.raises(InvalidInput, match=r"has no array 'x': name one after a colon \(it has: a, b\)"):
        read_array(str(path))


BAD = {
    "nan": (npy(np.array([[1.0, 2.0], [np.nan, np.inf]])), r"has nan at index \[1, 0\], and 2 such in all"),
    "empty": (npy(np.zeros((0, 3))), r"is empty: shape \[0, 3\]"),
    "objects": (npy(np.array([Trap(), 1], dtype=object)), "objects"),
    "text": (npy(np.array(["a"])), "not real numbers"),
    "complex": (npy(np.array([1j])), "not real numbers"),
    "structured": (npy(np.zeros(2, dtype=[("a", "f4")])), "not real numbers"),
    "pickle": (pickle.dumps(Trap()), "is no .npy data"),
    "nothing": (b"", "is no .npy data"),
    "words": (b"hello, this is no array", "is no .npy data"),
    "short": (npy(np.arange(9.0))[:-1], "cut short"),
    "long": (npy(np.arange(9.0)) + b"x", "too long"),
    "bomb": (header("(1099511627776, 1099511627776)"), "cut short"),
    "negative": (header("(-1,)"), "cut short"),
    "code": (header("__import__('os').system('true')"), "is no .npy data"),
    "deep": (header("(" * 4000), "is no .npy data"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("packed", [False, True])
def test_bad_arrays_are_one_line(tmp_path: Path, name: str, packed: bool) -> None:
    content, said = BAD[name]
    path = tmp_path / ("x.npz" if packed else "x.npy")
    if packed:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.npy", content)
    else:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=said) as caught:
        read_array(str(path))
    assert "\n" not in str(caught.value)
    assert not Path("/tmp/lipaudit-was-here").exists()


def test_bad_archives(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(b"PK no archive")
    with pytest.raises(InvalidInput, match=r"is no \.npz archive"):
        read_array(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(65):
            archive.writestr(f"a{number}.npy", b"")
    with pytest.raises(InvalidInput, match="65 members"):
        read_array(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", npy(np.ones(2)))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x.npy", npy(np.zeros(2)))
    with pytest.raises(InvalidInput, match="two arrays 'x'"):
        read_array(str(path))
    np.savez(path, x=np.ones(200))
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InvalidInput, match="damaged"):
        read_array(str(path))


def test_files_that_are_none(tmp_path: Path) -> None:
    for spec, said in (
        (tmp_path / "no.npy", "does not exist"),
        (tmp_path / "x.csv", r"no \.npy or \.npz"),
        (tmp_path, r"no \.npy or \.npz"),
    ):
        with pytest.raises(InvalidInput, match=said):
            read_array(str(spec))
    (tmp_path / "d.npy").mkdir()
    with pytest.raises(InvalidInput, match="folder"):
        read_array(str(tmp_path / "d.npy"))


def test_boxes(tmp_path: Path) -> None:
    path = tmp_path / "box.npz"
    np.savez(path, lower=np.zeros(3), upper=np.ones(3))
    low, high = read_box(path)
    assert (low.sum(), high.sum()) == (0.0, 3.0)
    np.savez(path, lo=np.zeros(3), hi=np.ones(4))
    with pytest.raises(InvalidInput, match=r"lo has shape \[3\], hi \[4\]"):
        read_box(path)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(InvalidInput, match=r"no arrays lower and upper \(it has: a\)"):
        read_box(path)
    with pytest.raises(InvalidInput, match=r"no \.npz"):
        read_box(tmp_path / "box.npy")


@pytest.mark.parametrize(
    ("given", "shape", "count"),
    [
        ((5, 1, 8, 8), (1, 8, 8), 5),
        ((5, 64), (1, 64), 5),
        ((5, 1, 64), (1, 64), 5),
        ((64,), (1, 64), 1),
        ((1, 64), (1, 64), 1),
        ((10,), (10,), 1),
        ((7, 10), (10,), 7),
        ((3, 1, 8, 8), (1, 1, 8, 8), 3),
    ],
)
def test_batches(given: tuple[int, ...], shape: tuple[int, ...], count: int) -> None:
    assert as_batch(np.zeros(given), shape).shape == (count, *shape)


@pytest.mark.parametrize("given", [(5, 63), (63,), (5, 8, 8), (), (0, 64)])
def test_no_batches(given: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput) as caught:
        as_batch(np.zeros(given), (1, 64))
    assert str(list(given)) in str(caught.value) or "no samples" in str(caught.value)


def test_labels() -> None:
    assert as_labels(np.array([[0.0], [2.0]]), 2, 3).tolist() == [0, 2]
    assert as_labels(np.array([1, 2], dtype=np.uint8), 2, 3).dtype == np.int64
    for array, said in (
        (np.array([0.5, 1.0]), "0.5 at index 0 is not a whole number"),
        (np.array([0, 3]), r"3 at index 1 is not one of the classes 0\.\.2"),
        (np.array([-1, 0]), "-1 at index 0"),
        (np.array([1, 1, 1]), "not one label for each of 2 samples"),
        (np.zeros((2, 3)), "not one label for each of 2 samples"),
    ):
        with pytest.raises(InvalidInput, match=said):
            as_labels(array, 2, 3)
