"""From options and the configuration to the audit's own Settings. An option wins over the configuration."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lipaudit.cli.options import Audit, Effort, Machine
from lipaudit.errors import UsageError
from lipaudit.gate.fields import duration, is_precision, size
from lipaudit.gate.policy import ModelPolicy, Preprocessing, is_norms, preprocessing

if TYPE_CHECKING:
    from lipaudit.audit import Domain, Fixed, Settings


def build(
    audit: Audit,
    machine: Machine,
    policy: ModelPolicy,
    *,
    method: str | None = None,
    effort: Effort = Effort(),
    modulus: bool = False,
) -> Settings:
    """How to audit the model of the policy. Raises UsageError and InvalidInput."""
    # What is cheap to get wrong is looked at before torch is imported.
    domain = policy.domain if audit.domain is None else parse_domain(audit.domain)
    given = policy.preprocess if audit.preprocess is None else parse_preprocess(audit.preprocess)
    shapes = dict(policy.shapes) | dict(map(parse_shape, audit.shape or ()))
    fixed = dict(policy.fixed) | dict(map(parse_fix, audit.fix or ()))
    methods = policy.methods if method is None else parse_methods(method)
    seconds = policy.budget if effort.budget is None else duration(effort.budget)
    precision = policy.precision if effort.precision is None else parse_precision(effort.precision)
    memory = policy.memory if effort.memory is None else size(effort.memory)
    seed = policy.seed if audit.seed is None else audit.seed
    named = parse_norms(audit.norm or policy.norm or "l2")

    from lipaudit.audit import Preprocess, Settings
    from lipaudit.numerics.norms import NormPair

    _one_thread()
    pair = NormPair.parse(named)
    return Settings(
        norm=pair if pair.mixed else pair.source,
        domain=_domain(domain),
        preprocess=None if given is None else Preprocess(given.mean, given.std, given.source),
        methods=methods,
        budget=60.0 if seconds is None else seconds,
        precision=1e-3 if precision is None else precision,
        memory=2.0**31 if memory is None else memory,
        seed=seed or 0,
        device=_device(machine.device),
        shapes=shapes,
        output=audit.output or policy.output,
        inputs=tuple(audit.input or policy.varying),
        fixed={name: _fixed(name, value) for name, value in fixed.items()},
        modulus=modulus,
    )


def _one_thread() -> None:
    """One thread unless OMP_NUM_THREADS says otherwise: on a busy two-core machine two took 50 times as long."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def _domain(given: tuple[float, float] | Path | None) -> Domain | None:
    from lipaudit.audit import Domain
    from lipaudit.loading.arrays import read_box
    from lipaudit.loading.vnnlib import read_vnnlib_box

    if given is None:
        return None
    if isinstance(given, Path):
        read = read_vnnlib_box if given.suffix.lower() == ".vnnlib" else read_box
        return Domain(*read(given), str(given))
    low, high = given
    return Domain(low, high, f"{low:g},{high:g}")


def _device(wanted: str) -> str:
    if wanted == "cpu":
        return wanted
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise UsageError("--device cuda: this torch sees no CUDA device")
    return "cpu"


def _fixed(name: str, value: float | Path) -> Fixed:
    from lipaudit.audit import Fixed
    from lipaudit.loading.arrays import read_array

    if isinstance(value, Path):
        return Fixed(read_array(str(value), "x", f"--fix {name}"), str(value))
    return Fixed(value, f"{value:g}" if float(f"{value:g}") == value else repr(value))


def parse_fix(text: str) -> tuple[str, float | Path]:
    """'state=0' or 'state=state.npy'."""
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise UsageError(f"--fix {text!r} is not NAME=NUMBER or NAME=FILE.npy")
    numbers = _numbers(value)
    if numbers is None:
        return name, Path(value)
    if len(numbers) != 1:
        raise UsageError(f"--fix {text!r} is not NAME=NUMBER or NAME=FILE.npy")
    return name, numbers[0]


def parse_norms(text: str) -> str:
    """'l2', or 'linf:l2' for different norms of inputs and outputs."""
    if not is_norms(text):
        raise UsageError(f"--norm {text!r} is neither l1, l2 or linf nor a pair of them such as linf:l2")
    return text


def parse_precision(text: str) -> float:
    """'1e-6'."""
    values = _numbers(text)
    if values is None or len(values) != 1 or not is_precision(values[0]):
        raise UsageError(f"--precision {text!r} is not a number from 1e-9 to 1, such as 1e-6")
    return values[0]


def parse_domain(text: str) -> tuple[float, float] | Path:
    """'0,1' or the name of an .npz or .vnnlib file."""
    if text.lower().endswith((".npz", ".vnnlib")):
        return Path(text)
    ends = _numbers(text)
    if ends is None or len(ends) != 2 or not ends[0] <= ends[1]:
        raise UsageError(f"--domain {text!r} is neither LO,HI with LO <= HI nor an .npz or .vnnlib file")
    return ends[0], ends[1]


def parse_preprocess(text: str) -> Preprocessing:
    """'none', 'scale=255' or 'mean=...;std=...'."""
    if text.strip() == "none":
        return Preprocessing((0.0,), (1.0,), "none")
    given: dict[str, tuple[float, ...]] = {}
    for part in text.split(";"):
        key, equals, values = (piece.strip() for piece in part.partition("="))
        found = _numbers(values)
        if not equals or key not in ("scale", "mean", "std") or key in given or found is None:
            raise UsageError(f'--preprocess {text!r} is none of "none", "scale=255" and "mean=0.5,...;std=0.2,..."')
        given[key] = found
    return preprocessing(given, "--preprocess")


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """'input=1,3,32,32'."""
    name, equals, sizes = text.rpartition("=")
    parts = sizes.split(",") if sizes else []
    if not equals or not name or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--shape {text!r} is not NAME=1,3,32,32")
    return name, tuple(int(part) for part in parts)


def parse_methods(text: str) -> tuple[str, ...]:
    """'auto' or names with commas; the names are known to the audit."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise UsageError(f"--method {text!r} has an empty name")
    return () if names == ("auto",) else names


def _numbers(text: str) -> tuple[float, ...] | None:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None
