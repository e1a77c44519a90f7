"""Files that are no model, or not the model they seem: one clear line each, nothing else."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest

from lipaudit.errors import InvalidInput, LipauditError
from lipaudit.loading import load_model
from lipaudit.loading.reading import read_bytes
from tests.cases.models import model, node, saved, weights


def relu_model() -> bytes:
    made = model([node("Gemm", ["x", "w"], ["h"]), node("Relu", ["h"])], weights(w=[[1.0, 2.0], [3.0, 4.0]]))
    return bytes(made.SerializeToString())


def test_a_model_loads(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(relu_model())
    loaded = load_model(path)
    assert loaded.graph.input_shape == (1, 2)
    assert loaded.facts.parity is not None
    assert loaded.content == relu_model()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="does not exist"):
        load_model(tmp_path / "none.onnx")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="folder"):
        load_model(tmp_path)


def test_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    keep = os.open(path, os.O_RDWR)  # so that opening it does not wait
    try:
        with pytest.raises(InvalidInput, match="not a regular file"):
            load_model(path)
    finally:
        os.close(keep)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "secret.onnx"
    path.write_bytes(b"x")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_model(path)


def test_a_file_beyond_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"12345")
    with pytest.raises(InvalidInput, match="5 bytes, more than the 4"):
        read_bytes(path, limit=4)


def _zip() -> bytes:
    import io

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("data.pkl", b"1")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"hello, this is no model\n", "text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "git lfs pull"),
        (pickle.dumps({"a": [1, 2, 3]}), "a pickle"),
        (_zip(), "zip archive"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "gzip"),
        (b"\xff\xfe\xfd\xfc" * 20, "truncated or of another format"),
        (relu_model()[:-7], "truncated|no ONNX"),
    ],
    ids=["empty", "text", "lfs", "pickle", "zip", "gzip", "noise", "truncated"],
)
def test_what_the_file_is_instead_is_said(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=said) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", range(0, len(relu_model()), 3))
def test_every_truncation_is_refused_in_words(length: int, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(relu_model()[:length])
    with pytest.raises(LipauditError):
        load_model(path)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """protobuf hands out such names only to fail when they are looked at."""
    content = relu_model().replace(b"relu_y", b"rel\xff_y").replace(b"\x01y", b"\x01\xfe")
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(LipauditError):
        load_model(path)


@pytest.mark.parametrize("name", ["lfs_pointer", "external_data_missing", "custom_domain_brevitas"])
def test_sample_files_that_are_bad(name: str, shared: Path) -> None:
    with pytest.raises(LipauditError):
        load_model(shared / "models_bad" / f"{name}.onnx")


def test_the_content_is_what_was_hashed(tmp_path: Path) -> None:
    import hashlib

    made = model([node("Relu", ["x"])])
    path = saved(made, tmp_path)
    assert load_model(path).facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
