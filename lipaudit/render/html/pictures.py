"""Inputs and directions as pictures, where an input is one: a small PNG inside the page."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from markupsafe import Markup
from PIL import Image

_SMALLEST, _LARGEST = 6, 112
"""The sides of a picture, in entries: below, an input is hardly one; above, it is averaged down."""

_LOW, _MIDDLE, _HIGH = (np.array(color, dtype=np.float64) for color in ((0, 90, 160), (247, 247, 247), (200, 80, 0)))
"""Less, no change, more: blue, white and orange stay apart for every kind of colour blindness."""


def as_picture(values: np.ndarray) -> np.ndarray | None:
    """The entries as [height, width] or [height, width, 3]; None where the shape does not look like a picture.

    Channels may come first or last. A vector whose length is a square is laid out row by row.
    """
    shape = list(values.shape)
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    array = values.reshape(shape)
    if array.ndim == 1 and math.isqrt(len(array)) ** 2 == len(array):
        array = array.reshape(math.isqrt(len(array)), -1)
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] > 3:
        array = np.moveaxis(array, 0, 2)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    colored = array.ndim == 3 and array.shape[2] == 3
    if not (array.ndim == 2 or colored) or min(array.shape[:2]) < _SMALLEST or not np.all(np.isfinite(array)):
        return None
    return _small(array)


def input_image(picture: np.ndarray, beside: np.ndarray | None = None) -> str:
    """The input, from its smallest entry (black) to its largest (white), as a data: URL.

    beside: another one, on the same scale.
    """
    both = picture if beside is None else np.stack([picture, beside])
    low, high = float(both.min()), float(both.max())
    return _png((picture - low) / ((high - low) or 1.0) * 255.0)


def direction_image(picture: np.ndarray) -> str:
    """The direction, blue where the input gets less, orange where it gets more, as a data: URL.

    Colours are averaged over the channels of a colour picture.
    """
    flat = picture.mean(axis=2) if picture.ndim == 3 else picture
    share = (flat / (float(np.abs(flat).max()) or 1.0))[:, :, None]
    return _png(_MIDDLE + np.maximum(share, 0.0) * (_HIGH - _MIDDLE) + np.maximum(-share, 0.0) * (_LOW - _MIDDLE))


def _small(array: np.ndarray) -> np.ndarray:
    """Averages over blocks, so that no side is longer than the largest; what is left over at the end is cut."""
    step = max(1, math.ceil(max(array.shape[:2]) / _LARGEST))
    if min(array.shape[:2]) < step * _SMALLEST:
        return array[::step, ::step]
    height, width = (size // step for size in array.shape[:2])
    blocks = array[: height * step, : width * step].reshape(height, step, width, step, *array.shape[2:])
    return np.asarray(blocks.mean(axis=(1, 3)))


def _png(pixels: np.ndarray) -> str:
    """As markup of our own, which no text of a file enters: it is not cut as a long name would be."""
    stream = io.BytesIO()
    Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)).save(stream, "PNG", optimize=True)
    return Markup("data:image/png;base64,") + base64.b64encode(stream.getvalue()).decode("ascii")
