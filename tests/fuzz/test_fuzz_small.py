"""A few hundred mutants of every kind, as `make fuzz` runs them by the ten thousand."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.campaign import results
from tests.fuzz.judging import GOOD, ROOT, judge
from tests.fuzz.structural import BYTES, MUTATORS, Inapplicable, mutate

COUNT = 300
SEED = 20_261


def test_mutants_end_in_a_documented_outcome() -> None:
    answers = list(results(list(range(COUNT)), SEED, 300.0, 1))
    assert len(answers) == COUNT
    failed = [answer for answer in answers if answer.outcome not in GOOD]
    said = [f"{a.outcome}: {a.detail[-300:]} (tests/fuzz/campaign.py --seed {SEED} --only {a.number})" for a in failed]
    assert said == []
    # where most mutants are refused at the door nothing behind it is tried
    assert sum(answer.outcome == GOOD[0] for answer in answers) >= COUNT // 20
    assert sum(answer.compared for answer in answers) >= COUNT // 4


def test_a_mutant_is_made_again_from_its_number() -> None:
    content = (ROOT / "sample_models" / "diabetes_tanh.onnx").read_bytes()
    for number in range(20):
        first, second = (mutate(content, random.Random(number)) for _ in range(2))
        assert first == second


def test_every_mutator_finds_something_to_change() -> None:
    import onnx

    content = (ROOT / "sample_models" / "digits_cnn.onnx").read_bytes()
    idle = set(MUTATORS)
    for number in range(40):
        for name in sorted(idle):
            model = onnx.ModelProto()
            model.ParseFromString(content)
            try:
                MUTATORS[name](model, random.Random(f"{name}:{number}"))
            except Inapplicable:
                continue
            if model.SerializeToString() != content:
                idle.remove(name)
    assert idle == set()
    for change in BYTES.values():
        assert any(change(content, random.Random(number)) != content for number in range(5))


def test_the_judge_sees_a_bound_that_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fuzzer that cannot fail proves nothing."""
    from lipaudit.engines.layer_product import LayerProduct
    from lipaudit.numerics.bound import UpperBound

    path = ROOT / "sample_models" / "diabetes_tanh.onnx"
    assert judge(path, random.Random(0)).outcome == GOOD[0]
    monkeypatch.setattr(LayerProduct, "bound", lambda self, problem: UpperBound(1e-3, "a lie"))
    assert judge(path, random.Random(0)).outcome == "unsound"


def test_the_judge_sees_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    import tests.fuzz.judging as judging

    def broken(path: Path, settings: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(judging, "subject", broken)
    assert judge(ROOT / "sample_models" / "diabetes_tanh.onnx", random.Random(0)).outcome == "traceback"
