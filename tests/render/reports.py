"""Reports made by hand, so that what prints and what judges is tested without a model."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from lipaudit.numerics.bound import LowerBound, UpperBound
from lipaudit.report.baseline import Change, Comparison
from lipaudit.report.finding import Finding
from lipaudit.report.report import (
    AffineModulus,
    Attack,
    Attained,
    AuditReport,
    Jump,
    Layer,
    Method,
    Model,
    Parity,
    Problem,
    Radii,
    Region,
    Regions,
    Run,
    Samples,
    Tensor,
)
from lipaudit.report.rule import RuleResult, Waiver


def up(value: float) -> UpperBound:
    return UpperBound(value, "test")


def method(value: float, name: str = "product", label: str = "product of layer gains") -> Method:
    return Method(name, label, 0.01, up(value))


def attained(value: float) -> Attained:
    witness = np.zeros(2)
    return Attained("ascent", "Jacobian ascent, witness kept", 1.9, LowerBound(value, "witness"), witness, witness + 1)


MODEL = Model(
    "digits.onnx",
    "ab" * 32,
    20,
    (Tensor("input", (1, 64), "float32"),),
    (Tensor("output", (1, 10), "float32"),),
    Parity(4, 1.1e-6, 1e-4),
)

BOUND = AuditReport(
    "bound",
    MODEL,
    Problem("l2", "l2", Region("box", 0.0, 16.0, "0,16"), "raw input units", "input[1, 64] -> output[1, 10]"),
    Run(2.3, 0, {"python": "3.11", "lipaudit": "0.1.0"}),
    layers=(
        Layer("preprocess", "Div", ("preprocess",), "16", up(0.0625)),
        Layer("/0/Gemm", "Gemm", ("/0/Gemm",), "64->96", up(7.32119)),
        Layer("/1/Relu", "Relu", ("/1/Relu",), "", up(1.0)),
        Layer("/2/Gemm", "Gemm", ("/2/Gemm", "/3/Mul"), "96->10", up(4.2)),
    ),
    methods=(
        method(5.2476),
        method(4.4466, "recursion", "ellipsoid recursion"),
        Method("sdp", "semidefinite programme", 0.0, None, "a Softmax stands between two layers"),
    ),
    upper=method(4.4466, "recursion", "ellipsoid recursion"),
    lower=attained(3.7989),
    assumptions=("input input: the open axes batch are 1 (one sample)",),
)

INFINITE = replace(
    BOUND,
    methods=(method(math.inf),),
    upper=method(math.inf),
    findings=(Finding("LIP110", "/4/Softmax", "its input is not bounded", "Softmax"),),
)

LOCAL = replace(
    BOUND,
    command="local",
    layers=(),
    methods=(),
    upper=None,
    lower=None,
    samples=Samples("val.npz:x", np.linspace(1.0, 3.0, 101)),
)

REGIONS = replace(
    LOCAL,
    regions=Regions(
        "val.npz:x",
        0.5,
        np.linspace(1.5, 4.0, 101),
        ("product of layer gains, over the ball", "the global bound"),
        (np.arange(101) > 90).astype(np.int64),
        np.where(np.arange(101) < 5, np.linspace(1.5, 4.0, 101), np.linspace(1.25, 3.25, 101)),
    ),
)

_RADII = np.linspace(0.0, 1.0, 100)
CERTIFIED = Radii("val.npz:x", np.where(np.arange(100) < 4, 0.0, _RADII), np.arange(100) >= 4, (3.0, 4.0), "pairwise")
CERTIFY = replace(
    BOUND,
    command="certify",
    layers=(),
    lower=None,
    radii=CERTIFIED,
    certified_at=(0.1, 0.25),
    findings=(Finding("LIP301", "val.npz:x", "4 of 100 samples"),),
)

_WRONG = np.arange(100) < 4
_REACHED = np.where(_WRONG, 0.0, np.where(np.arange(100) < 90, _RADII * 1.25, np.inf))
ATTACKED = replace(
    CERTIFY,
    radii=replace(
        CERTIFIED,
        attack=Attack(
            "boundary walk",
            _REACHED,
            np.where(np.isfinite(_REACHED), 7, -1),
            np.zeros((100, 2)),
            np.ones(100, dtype=bool),
            unconfirmed=2,
            seconds=1.5,
        ),
    ),
)

GROWN = replace(CERTIFY, radii=replace(CERTIFIED, whole=CERTIFIED.values * 0.5))

REFUSED = AuditReport(
    "bound",
    Model("bad.onnx", "", 0, (), (), None),
    Problem("l2", "l2", None, "model input units", ""),
    Run(0.0, 0, {}),
    findings=(Finding("LIP101", "/e", "no rule", "Einsum"), Finding("LIP101", "/n", "no rule", "NonZero")),
)

GATE = replace(
    BOUND,
    command="gate",
    rules=(
        RuleResult("global", "digits.onnx", 4.4466, 5.0, "pass"),
        RuleResult("layer:/0/Gemm", "digits.onnx", 7.32119, 7.0, "fail", code="LIP003"),
        RuleResult(
            "certified@0.25",
            "digits.onnx",
            None,
            0.9,
            "inconclusive",
            "the policy gives no inputs",
            code="LIP005",
            sign=">=",
        ),
    ),
    verdict="fail",
)

GROUP = replace(GATE, layers=(), methods=(), upper=None, lower=None, parts=(GATE, replace(REFUSED, command="gate")))

_WAIVER = Waiver("layer:/0/*", "retrained in the next release", "2027-01-31")
RATCHET = replace(
    GATE,
    rules=(
        RuleResult("global", "digits.onnx", 4.4466, 4.6689405, "pass", recorded=4.44661),
        RuleResult("layer:/0/Gemm", "digits.onnx", 7.32119, 7.0, "fail", code="LIP003", waiver=_WAIVER),
        RuleResult("ratio", "digits.onnx", 1.171, 1.1, "fail", code="LIP002", level="warn"),
        RuleResult("clean", "digits.onnx", 0.96, None, "inconclusive", "LIP012 no record", "LIP006", ">="),
    ),
    baseline=Comparison(
        "lipaudit-baseline.toml",
        "digits.onnx",
        "cd" * 32,
        "2026-11-01",
        False,
        ("inputs sha256: ab then, cd now",),
        (
            Change("global", 4.5, 4.4466, "better"),
            Change("lower", 3.7, 3.7989, "changed"),
            Change("layer:/0/Gemm", 7.2, 7.32119, "worse"),
            Change("layer:/1/Relu", 1.0, 1.0, "same"),
            Change("layer:/9/Gemm", 2.0, None, "gone"),
            Change("clean", None, 0.96, "new"),
        ),
    ),
    verdict="inconclusive",
    findings=(
        Finding("LIP020", "layer:/0/Gemm", "7.32119 is not <= 7; until 2027-01-31: retrained in the next release"),
        Finding("LIP002", "ratio", "1.171 is not <= 1.1", level="warning"),
        Finding("LIP012", "clean", "no record", level="error"),
    ),
)

MODULUS = replace(
    BOUND,
    methods=(),
    upper=None,
    lower=None,
    modulus=AffineModulus(up(2.34567), up(1.00001), (Jump("/3/Sign", "Sign", up(6.32456)),), 0.02),
)

ALL = {
    "bound": BOUND,
    "infinite": INFINITE,
    "local": LOCAL,
    "regions": REGIONS,
    "certify": CERTIFY,
    "attacked": ATTACKED,
    "grown": GROWN,
    "refused": REFUSED,
    "gate": GATE,
    "group": GROUP,
    "ratchet": RATCHET,
    "modulus": MODULUS,
}
