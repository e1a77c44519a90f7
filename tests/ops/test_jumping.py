"""Ops that jump, against exhaustive sampling; what they are read from, against ONNX's own cases; planted bugs."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch

from lipaudit.numerics.bound import ONE, ZERO, UpperBound
from lipaudit.numerics.box import Box
from lipaudit.numerics.norms import Norm
from lipaudit.ops import jumping
from lipaudit.ops.jumping import Choose, Jumping, Look, Pick, Step, Winner, Zero
from lipaudit.ops.registry import jump_registry, registry
from tests.laws import jump_laws
from tests.onnx_cases.node_cases import answers, node_cases

STAIRS = (jumping.FLOOR, jumping.CEIL, jumping.ROUND, jumping.TRUNCATE, jumping.SIGN, jumping.POSITIVE)
TABLE = torch.tensor([[1.0, -2.0], [0.5, 3.0], [4.0, 0.0]], dtype=torch.float64)
CASES: dict[str, Callable[[], Jumping]] = {
    **{stair.name: partial(Step, stair, (3,)) for stair in (*STAIRS, jumping.NOT_NEGATIVE)},
    "Zero": lambda: Zero((3,)),
    "Winner": lambda: Winner(2, 3),
    "Winner, last smallest": lambda: Winner(1, 4, -1.0, last=True),
    "Choose": lambda: Choose((3,)),
    "Look": lambda: Look(TABLE, (2,)),
    "Pick": lambda: Pick(2, 3, 2),
    "Pick of one": lambda: Pick(2, 1, 2),
}


def test_every_op_that_jumps_has_a_case() -> None:
    assert {cls.__name__ for cls in Jumping.__subclasses__()} <= {type(make()).__name__ for make in CASES.values()}


def boxes_of(op: Jumping, seed: int) -> tuple[Box, ...]:
    """Narrow, wide, degenerate and whole-numbered ends; indices stay inside what they point into."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for place, shape in enumerate(op.in_shapes):
        if isinstance(op, Look) or (isinstance(op, Pick) and place == 1):
            most = len(op.table) if isinstance(op, Look) else op.size
            ends = torch.randint(0, most, (2, 1, *shape), generator=generator).double()
        elif isinstance(op, Choose) and place == 0:
            ends = torch.randint(0, 2, (2, 1, *shape), generator=generator).double()
        else:
            ends = (
                (torch.rand(2, 1, *shape, generator=generator, dtype=torch.float64) - 0.5) * 6.0 * 10.0 ** -(seed % 3)
            )
            ends = torch.where(torch.rand(2, 1, *shape, generator=generator) < 0.3, torch.round(ends), ends)
        if seed % 5 == 4:
            ends[1] = ends[0]
        found.append(Box(ends.amin(0), ends.amax(0)))
    return tuple(found)


def whole(op: Jumping, law: Callable[[Jumping, tuple[Box, ...], int], None], seed: int) -> None:
    law(op, boxes_of(op, seed), seed)


@pytest.mark.parametrize("name", CASES)
def test_laws(name: str) -> None:
    for seed in range(15):
        whole(CASES[name](), jump_laws.interval_encloses, seed)
        whole(CASES[name](), jump_laws.modulus_holds, seed)


@pytest.mark.parametrize("name", CASES)
def test_it_has_no_constant(name: str) -> None:
    op = CASES[name]()
    boxes = boxes_of(op, 0)
    assert {gain.value for gain in op.gains(Norm.L2, *boxes)} == {math.inf}
    assert op.joint_gain(Norm.L1, *boxes).value == math.inf
    assert op.caveat(*boxes)


@pytest.mark.parametrize("stair", STAIRS, ids=lambda stair: stair.name)
def test_steps_of_everything(stair: jumping.Stair) -> None:
    op = Step(stair, (4,))
    box = Box.everything((1, 4))
    height = 1.0 if stair.rounds or stair is jumping.POSITIVE else 2.0
    assert op.jump(Norm.LINF, box).value == height
    assert op.jump(Norm.L2, box).value == pytest.approx(2.0 * height, rel=1e-12)
    assert op.slopes(Norm.L2, box)[0].value == (1.0 if stair.rounds else 0.0)


# ------------------------------------------------------------------------------------------- planted bugs


def less(op: type[Jumping], method: str, value: UpperBound) -> Callable[[pytest.MonkeyPatch], None]:
    """A modulus without one of its parts."""

    def answer(self: Jumping, norm: Norm, *boxes: Box) -> object:
        return (value,) * len(boxes) if method == "slopes" else value

    return lambda patch: patch.setattr(op, method, answer)


def l1_for_all(patch: pytest.MonkeyPatch) -> None:
    """The largest jump of one entry, where several jump at once."""
    patch.setattr(jumping, "length", lambda norm, jumps: UpperBound(float(jumps.max()), "largest"))


HALF = UpperBound(0.5, "planted")
PLANTED: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None]]] = {
    "Floor without its jump": ("Floor", less(Step, "jump", ZERO)),
    "Round jumps by 1/2": ("Round", less(Step, "jump", HALF)),
    "Ceil without its slope": ("Ceil", less(Step, "slopes", ZERO)),
    "a sign jumps by 1": ("Sign", less(Step, "jump", ONE)),
    "a comparison does not jump": ("Positive", less(Step, "jump", ZERO)),
    "only the largest entry jumps": ("Floor", l1_for_all),
    "Choose without its jump": ("Choose", less(Choose, "jump", ZERO)),
    "Choose without its slopes": ("Choose", less(Choose, "slopes", ZERO)),
    "an index jumps by 1": ("Winner", less(Winner, "jump", ONE)),
    "a table does not jump": ("Look", less(Look, "jump", ZERO)),
    "picks of one entry count once": ("Pick of one", less(Pick, "slopes", HALF)),
    "a row's spread is forgotten": ("Pick", less(Pick, "jump", ZERO)),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bugs_are_caught(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, plant = PLANTED[bug]
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        many(name)


def many(name: str) -> None:
    for seed in range(30):
        whole(CASES[name](), jump_laws.modulus_holds, seed)


# ------------------------------------------------------------------------------------------- ONNX's own cases


WHOLE_ONLY = {"DequantizeLinear", "OneHot"}
"""Ops whose cases vary in whole numbers only; in a model these come from a rounding before."""


@pytest.mark.parametrize("op", jump_registry())
def test_what_jumps_agrees_with_every_node_case(op: str) -> None:
    """Read with --modulus, each case gives the standard's values, or is refused with a reason."""
    passed = 0
    for case in node_cases().get(op, []):
        if not case.real_inputs:
            continue
        for answer in answers(case, jumps=True):
            assert answer.difference is None or answer.difference <= 1.0, f"{case.name}: {answer}"
            assert answer.difference is not None or answer.reason
            passed += answer.difference is not None
    assert passed or op in WHOLE_ONLY or not any(case.real_inputs for case in node_cases().get(op, []))


def test_without_being_asked_for_it_stays_refused() -> None:
    for op in ("Floor", "Greater", "ArgMax", "QuantizeLinear"):
        assert op in jump_registry()
        assert op not in registry()
        case = next(case for case in node_cases()[op] if case.real_inputs)
        assert all(answer.difference is None for answer in answers(case))
