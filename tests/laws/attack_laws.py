"""What a reported counterexample has to be, by means of its own: functions that raise AssertionError."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import lipaudit.audit.certifying as certifying
import lipaudit.probes.radii as radii_module
from lipaudit.audit import Domain, Preprocess, Settings, certify
from lipaudit.numerics.norms import Norm
from lipaudit.report.report import Attack, AuditReport
from tests.cases.models import model, node, opened, random_array, saved, weights


def classifier(seed: int = 0, sizes: tuple[int, int, int] = (5, 12, 4)) -> onnx.ModelProto:
    first, second = random_array(sizes[0], sizes[1], seed=seed), random_array(sizes[1], sizes[2], seed=seed + 1)
    given = weights(a=first, b=random_array(sizes[1], seed=seed + 2), c=second)
    nodes = [node("Gemm", ["x", "a", "b"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "c"])]
    return model(nodes, given, inputs=[("x", (1, sizes[0]))])


def runtime_class(made: onnx.ModelProto, point: np.ndarray) -> int:
    (values,) = opened(made).run(None, {"x": point.astype(np.float32)})
    return int(np.asarray(values).argmax())


def exactly_longer(norm: Norm, step: list[Fraction], claimed: float) -> bool:
    """Whether the step is longer than the distance that is claimed, in exact arithmetic."""
    if norm is Norm.L2:
        return sum((s * s for s in step), Fraction(0)) > Fraction(claimed) ** 2
    length = sum(map(abs, step), Fraction(0)) if norm is Norm.L1 else max(map(abs, step))
    return length > Fraction(claimed)


def attack_of(report: AuditReport) -> Attack:
    assert report.radii is not None
    assert report.radii.attack is not None
    return report.radii.attack


def counterexamples_are_genuine(
    folder: Path, norm: Norm = Norm.L2, *, scaled: bool = False, seconds: float = 3.0
) -> None:
    """In the domain, at most as far as is said, given another class by onnxruntime and by exact arithmetic."""
    made = classifier()
    x = np.random.default_rng(7).uniform(-0.5, 0.5, size=(12, 1, 5))
    mean, std = (0.25, 2.0) if scaled else (0.0, 1.0)
    labels = np.array([runtime_class(made, (row - mean) / std) for row in x])
    pre = Preprocess((mean,), (std,), "test") if scaled else None
    settings = Settings(norm=norm, domain=Domain(-0.55, 0.55, "box"), preprocess=pre)
    report = certify(saved(made, folder), x, labels, settings, attack=3.0)
    assert not any(finding.code == "LIP901" for finding in report.findings)
    attack, radii = attack_of(report), report.radii
    assert radii is not None
    assert attack.found.sum() >= 6, "the attack found too little to tell anything"
    given = {tensor.name: onnx.numpy_helper.to_array(tensor).astype(np.float64) for tensor in made.graph.initializer}
    for row in np.flatnonzero(attack.found):
        point = attack.points[row]
        assert (point >= -0.55).all(), "outside the domain"
        assert (point <= 0.55).all(), "outside the domain"
        inner = (point - mean) / std
        assert runtime_class(made, inner) == attack.answers[row] != labels[row], "onnxruntime does not confirm it"
        hidden = np.maximum(inner @ given["a"] + given["b"], 0.0)
        logits = (hidden @ given["c"])[0]
        assert logits[labels[row]] < logits.max(), "real arithmetic does not confirm it"
        step = [Fraction(float(q)) - Fraction(float(p)) for p, q in zip(x[row].ravel(), point.ravel(), strict=True)]
        assert not exactly_longer(norm, step, attack.values[row]), "further away than is said"
        assert attack.values[row] >= radii.values[row]


def faults_are_reported(folder: Path) -> None:
    """A counterexample inside a certified radius: LIP901, no radius and no constant."""
    made = classifier()
    x = np.random.default_rng(7).uniform(-0.5, 0.5, size=(6, 1, 5))
    labels = np.array([runtime_class(made, row) for row in x])
    honest = radii_module.classification_radii

    def inflated(*args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        values, correct = honest(*args)
        return values * 100.0, correct

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certifying, "classification_radii", inflated)
        report = certify(saved(made, folder), x, labels, Settings(), attack=2.0)
    assert any(finding.code == "LIP901" for finding in report.findings), "the fault was not seen"
    assert report.radii is not None
    assert not report.radii.values.any()
    assert report.upper is not None
    assert report.upper.bound is None


def regressor(seed: int = 3) -> onnx.ModelProto:
    return classifier(seed, (4, 10, 2))


def moves_are_genuine(folder: Path, norm: Norm = Norm.L2) -> None:
    """A regression's counterexamples: in the domain, no further than is said, moved too far in exact arithmetic."""
    made, tolerance = regressor(), 0.75
    x = np.random.default_rng(5).uniform(-0.4, 0.4, size=(8, 1, 4)).astype(np.float32).astype(np.float64)
    settings = Settings(norm=norm, domain=Domain(-0.6, 0.6, "box"))
    report = certify(saved(made, folder), x, None, settings, tolerance=tolerance, attack=2.0, local=True)
    assert not any(finding.code == "LIP901" for finding in report.findings)
    attack, radii = attack_of(report), report.radii
    assert radii is not None
    assert radii.whole is not None
    assert (radii.values >= radii.whole).all()
    assert attack.found.sum() >= 4, "the attack found too little to tell anything"
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    given = {name: [[Fraction(float(v)) for v in row] for row in np.atleast_2d(a)] for name, a in arrays.items()}

    def dot(a: list[Fraction], b: list[Fraction]) -> Fraction:
        return sum((p * q for p, q in zip(a, b, strict=True)), Fraction(0))

    def exact(point: np.ndarray) -> list[Fraction]:
        entries = [Fraction(float(v)) for v in point.ravel()]
        before = [bias + dot(entries, [row[place] for row in given["a"]]) for place, bias in enumerate(given["b"][0])]
        hidden = [max(Fraction(0), h) for h in before]
        return [dot(hidden, [row[k] for row in given["c"]]) for k in range(2)]

    for row in np.flatnonzero(attack.found):
        point = attack.points[row]
        assert (abs(point) <= 0.6).all(), "outside the domain"
        moved = [b - a for a, b in zip(exact(x[row]), exact(point), strict=True)]
        assert exactly_longer(norm, moved, tolerance), "the output does not move that far"
        step = [Fraction(float(q)) - Fraction(float(p)) for p, q in zip(x[row].ravel(), point.ravel(), strict=True)]
        assert not exactly_longer(norm, step, attack.values[row]), "further away than is said"


def a_tie_is_no_success(folder: Path) -> None:
    """Outputs 1 and 1 - relu(1 - x): the second is at most as large as the first, and ties from x = 1 on."""
    one, minus = np.array([1.0], np.float32), np.array([[-1.0]], np.float32)
    given = weights(one=one, minus=minus, spread=np.array([[0.0, -1.0]], np.float32), both=np.ones(2, np.float32))
    nodes = [
        node("Gemm", ["x", "minus", "one"], ["h"]),
        node("Relu", ["h"], ["r"]),
        node("Gemm", ["r", "spread", "both"]),
    ]
    made = model(nodes, given, inputs=[("x", (1, 1))])
    x, labels = np.array([[[0.0]], [[0.5]]]), np.array([0, 0])
    settings = Settings(domain=Domain(-2.0, 3.0, "box"))
    attack = attack_of(certify(saved(made, folder), x, labels, settings, attack=0.5))
    assert not attack.found.any(), "a tie was counted"
