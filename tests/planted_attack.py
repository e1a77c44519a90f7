"""Planted mistakes of the attack and of the search from below: each is seen by its law."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import lipaudit.audit.certifying as certifying
import lipaudit.audit.confirming as confirming
import lipaudit.audit.tolerance as tolerance_module
import lipaudit.probes.aims as aims
import lipaudit.probes.ascent as ascent_module
import lipaudit.probes.attack as attack_module
import lipaudit.probes.chase as chase_module
import lipaudit.probes.witness as witness_module
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.probes.ascent import ascend
from tests.audit.test_tolerance import nothing_moves_too_far
from tests.laws import attack_laws
from tests.planted import Plant, attribute
from tests.probes.test_ascent import network


def catalogue() -> list[Plant]:
    def genuine(folder: Path) -> None:
        attack_laws.counterexamples_are_genuine(folder)

    def genuine_scaled(folder: Path) -> None:
        attack_laws.counterexamples_are_genuine(folder, scaled=True)

    return [
        Plant("the attack leaves the domain", _without_domain, genuine),
        Plant(
            "onnxruntime is not asked",
            attribute(
                confirming.Confirm, "_given", lambda self, raw, inner, rows: (self.change.labels[rows].numpy() + 1) % 4
            ),
            genuine,
        ),
        Plant("distances of the candidate, not of what was run", _unrounded_distance, genuine),
        Plant("preprocessing forgotten", attribute(confirming, "representable", _raw), genuine_scaled),
        Plant(
            "a radius above an attack passes",
            attribute(certifying, "contradicted", _nothing),
            attack_laws.faults_are_reported,
        ),
        Plant("distances in another norm", _other_norm, genuine),
        Plant("a tie counts as changed", _ties, attack_laws.a_tie_is_no_success),
        Plant(
            "any move of an output is one too far",
            _any_move,
            attack_laws.moves_are_genuine,
        ),
        Plant(
            "the tolerance is added to, not used up",
            attribute(tolerance_module, "tensor_down", lambda left: -left),
            lambda _: nothing_moves_too_far(Norm.L2),
        ),
        Plant(
            "only the first output is looked at",
            attribute(tolerance_module, "_length", lambda norm, entries: entries[:, 0]),
            lambda _: nothing_moves_too_far(Norm.L2),
        ),
        Plant("a witness outside the domain", _unclipped, _witness_inside),
    ]


def _without_domain(patch: pytest.MonkeyPatch) -> None:
    for module in (confirming, chase_module, attack_module):
        patch.setattr(module, "inside", lambda x, region: x)
    chase = chase_module.Chase
    patch.setattr(attack_module, "Chase", lambda graph, norm, region, *rest: chase(graph, norm, None, *rest))


def _unrounded_distance(patch: pytest.MonkeyPatch) -> None:
    """A tenth of the way is not counted."""
    patch.setattr(confirming, "up", lambda x: x * 0.9)


def _other_norm(patch: pytest.MonkeyPatch) -> None:
    search = confirming.Confirm.__init__
    patch.setattr(
        confirming.Confirm, "__init__", lambda self, target, norm, *rest: search(self, target, Norm.LINF, *rest)
    )


def _ties(patch: pytest.MonkeyPatch) -> None:
    """In the search, in real arithmetic and in onnxruntime."""
    patch.setattr(aims.OtherClass, "changed", lambda self, y: self._others(y).amax(1) >= aims._pick(y, self.labels))
    patch.setattr(confirming.Misclassified, "proven", _all)
    patch.setattr(confirming.Misclassified, "given", _all)


def _any_move(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(aims.TooFar, "changed", lambda self, y: self.norm.of(y - self.values) > 0.5 * self.tolerance)
    patch.setattr(confirming.Moved, "proven", _all)
    patch.setattr(confirming.Moved, "given", _all)


def _all(change: object, outputs: object, rows: np.ndarray) -> np.ndarray:
    return np.ones(len(rows), dtype=np.int64)


def _raw(target: object, raw: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
    return raw, raw.numpy()


def _nothing(attack: object, radii: object) -> np.ndarray:
    return np.zeros(0, dtype=np.int64)


def _unclipped(patch: pytest.MonkeyPatch) -> None:
    """The search runs everywhere, and nobody looks where its pair lies."""
    patch.setattr(ascent_module, "inside", lambda x, region: x)
    search, real = ascent_module._Search, witness_module.best_witness
    patch.setattr(ascent_module, "_Search", lambda graph, norm, region, *rest: search(graph, norm, None, *rest))
    patch.setattr(ascent_module, "best_witness", lambda graph, norm, x, v, region: real(graph, norm, x, v, None))


def _witness_inside(_: Path) -> None:
    graph, _weights = network(5, 6, 10, 8, 3)
    region = Box(torch.full((1, 6), -0.1, dtype=torch.float64), torch.full((1, 6), 0.3, dtype=torch.float64))
    witness = ascend(graph, Norm.L2, region, seconds=0.3)
    assert witness is not None
    assert region.contains(torch.stack([witness.x, witness.y]))
