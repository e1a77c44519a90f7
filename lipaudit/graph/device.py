"""A graph on another device: for float64 values there. Certificates are always made on the CPU."""

from __future__ import annotations

import dataclasses
from typing import TypeVar, cast

import torch

T = TypeVar("T")


def moved(value: T, device: torch.device) -> T:
    """The same value (a graph, a node, an op, a map, a tuple of them) with every tensor in it on the device.

    Walks dataclass fields; functions are kept, and move what they captured to the device of their argument.
    """
    if isinstance(value, torch.Tensor):
        return cast("T", value.to(device))
    if isinstance(value, tuple):
        return cast("T", tuple(moved(part, device) for part in value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: moved(getattr(value, f.name), device) for f in dataclasses.fields(value) if f.init}
        return dataclasses.replace(value, **fields)
    return value
