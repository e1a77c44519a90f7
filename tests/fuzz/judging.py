"""One mutant through everything that an audit does to a file, and what became of it in one word."""

from __future__ import annotations

import math
import random
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError

from lipaudit.audit.sampling import Sampler
from lipaudit.audit.settings import Domain, Settings
from lipaudit.audit.subject import Subject, local_only, subject
from lipaudit.engines.engine import run
from lipaudit.engines.layer_product import LayerProduct
from lipaudit.errors import InvalidInput, LipauditError
from lipaudit.graph.problem import Problem
from lipaudit.numerics.norms import Norm

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
SMALL = 120_000
"""Bytes: larger files of ../shared/models are left out, so that most of the time goes to mutants and not to layers."""

LARGE = 2**20
"""Entries of an input: one of the bad models has a fixed batch of 789444, whose audit takes 4 GB as it is."""

GOOD = ("0 audited", "2 invalid input", "3 no verdict")
"""The outcomes that the command line documents; every other one is a failure."""

DOMAINS = (None, None, None, Domain(-1.0, 1.0, "-1,1"), Domain(0.5, 4.0, "0.5,4"))
WORK = 10**7
"""Nodes times inputs times outputs, beyond which l1 and linf Jacobian norms, which take every row, are left out."""

WIDE = 10**5
"""Inputs or outputs, beyond which a Jacobian norm is more than a few seconds of honest work in l2 too."""

OTHER = (Norm.L1, Norm.LINF)
MEMORY = ("can't allocate", "not enough memory", "MemoryError", "Failed to allocate", "bad_alloc")
"""In a refusal they say that something too large was tried, where it should have been seen beforehand."""

SLACK = 1.0 + 1e-9


@dataclass(frozen=True)
class Verdict:
    """outcome: one of GOOD, or what went wrong; detail: the message, with the traceback where it is a failure."""

    outcome: str
    detail: str
    compared: int = 0
    tightness: list[float] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return self.outcome not in GOOD


def seed_files() -> tuple[list[Path], list[str]]:
    """The files that mutants are made of, and a line for every folder that is not here."""
    folders = [(ROOT / "sample_models", 2**30), (SHARED / "models_ops", 2**30), (SHARED / "models_bad", SMALL)]
    folders.append((SHARED / "models", SMALL))
    found, missing = [], []
    for folder, limit in folders:
        if folder.is_dir():
            found += sorted(path for path in folder.glob("*.onnx") if path.stat().st_size <= limit)
        else:
            missing.append(f"{folder} is not here: its models are not part of the repository, and are left out")
    return [path for path in found if _usable(path)], missing


def _usable(path: Path) -> bool:
    """Whether it parses, and is of a size that a thousand audits of its mutants can be afforded."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError:
        return False
    return all(
        math.prod(dim.dim_value or 1 for dim in info.type.tensor_type.shape.dim) <= LARGE for info in model.graph.input
    )


def judge(path: Path, rng: random.Random) -> Verdict:
    """What became of the file: its exit code, if that is documented, and whether bounds hold where it has one."""
    settings = Settings(domain=rng.choice(DOMAINS))
    other = rng.choice(OTHER)
    try:
        target = subject(path, settings)
        return _compared(target, (Norm.L2, other), rng.randrange(2**31))
    except LipauditError as error:
        message = str(error)
        if "\n" in message or not message:
            return Verdict("message is not one line", message)
        if any(said in message for said in MEMORY):
            return Verdict("memory", message)
        known = {2: GOOD[1], 3: GOOD[2]}
        outcome = known.get(error.exit_code, f"{error.exit_code} internal error")
        return Verdict(outcome, f"{type(error).__name__}: {message}")
    except MemoryError:
        return Verdict("memory", traceback.format_exc())
    except Exception:
        return Verdict("traceback", traceback.format_exc())


def _compared(target: Subject, norms: tuple[Norm, ...], seed: int) -> Verdict:
    """The product bound in each norm against Jacobian norms at three points of the domain."""
    points = _points(target, seed)
    compared, tightness = 0, []
    for norm in norms:
        problem = Problem.over(target.simplified, norm, target.region)
        local_only(problem)
        outcome = run(LayerProduct(), problem)
        if outcome.bound is None:
            return Verdict("engine failed", f"{norm.value}: {outcome.reason}")
        sampler = Sampler.of(replace(target, settings=replace(target.settings, norm=norm)))
        inputs, outputs = math.prod(target.graph.input_shape), math.prod(target.graph.output_shape)
        explicit = norm is not Norm.L2 and inputs * outputs * len(target.simplified.nodes) > WORK
        if explicit or max(inputs, outputs) > WIDE:
            continue
        sampler = Sampler.of(replace(target, settings=replace(target.settings, norm=norm)))
        sizes = [math.prod(target.graph.input_shape), math.prod(target.graph.output_shape)]
        if norm is not Norm.L2 and max(sizes) * len(target.simplified.nodes) > WORK:
            continue
        for point in points:
            try:
                (found,) = sampler(point[None]).norm.tolist()
            except InvalidInput:
                continue  # the Jacobian is not finite there
            compared += 1
            if not found <= outcome.bound.value * SLACK:
                where = point.flatten().tolist()[:8]
                return Verdict("unsound", f"{norm.value}: |J| = {found!r} at {where}, bound {outcome.bound.value!r}")
            if np.isfinite(outcome.bound.value) and outcome.bound.value > 0.0:
                tightness.append(found / outcome.bound.value)
    return Verdict(GOOD[0], "", compared, tightness)


def _points(target: Subject, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (3, *target.graph.input_shape)
    if target.region is None:
        scale = torch.tensor([1.0, 1.0, 0.1], dtype=torch.float64).reshape(3, *[1] * len(target.graph.input_shape))
        return torch.randn(shape, generator=generator, dtype=torch.float64) * scale
    low, high = target.region.lower, target.region.upper
    return low + torch.rand(shape, generator=generator, dtype=torch.float64) * (high - low)
