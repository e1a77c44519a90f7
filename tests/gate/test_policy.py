"""The policy: every key is known, every value is checked, and nothing that is written is quietly ignored."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from lipaudit.errors import UsageError
from lipaudit.gate.fields import duration
from lipaudit.gate.limits import Limits, Relative
from lipaudit.gate.policy import ModelPolicy, Policy, Preprocessing, parse_policy
from lipaudit.report.rule import Waiver

HERE = Path("some/folder")


def parsed(text: str) -> Policy:
    return parse_policy(tomllib.loads(text), HERE, "lipaudit.toml")


def only(text: str) -> ModelPolicy:
    [model] = parsed(text).models
    return model


FULL = """
model = "model.onnx"
norm = "linf"
domain = [0, 1]
preprocess = {mean = [0.5, 0.4, 0.3], std = [0.25]}
inputs = "val.npz:x"
labels = "val.npz:y"
output = "logits"
budget = "2m"
precision = 1e-6
memory = "500MB"
seed = 7
baseline = "accepted.toml"
method = ["product"]
shape = {image = [1, 3, 32, 32]}
input = "image"
fix = {state = 0, rate = "rate.npy"}

[limits]
upper = 5.0
ratio = "baseline"
layer = 8.0
[limits.layers]
"/head/*" = 3.0
"op:Relu" = "off"
[limits.local]
p95 = 3.0
max = 4.0
[limits.certified]
radius = 0.25
accuracy = {baseline = 0.99}
clean_accuracy = 0.95
[rules]
ratio = "warn"
LIP004 = "off"
[[waivers]]
rule = "layer:/a*"
reason = "soon"
expires = 2027-01-31
"""


def test_every_key_at_once() -> None:
    assert only(FULL) == ModelPolicy(
        model=HERE / "model.onnx",
        norm="linf",
        domain=(0.0, 1.0),
        preprocess=Preprocessing((0.5, 0.4, 0.3), (0.25,), "mean=0.5,0.4,0.3, std=0.25"),
        inputs=str(HERE / "val.npz:x"),
        labels=str(HERE / "val.npz:y"),
        output="logits",
        varying=("image",),
        fixed={"state": 0.0, "rate": HERE / "rate.npy"},
        shapes={"image": (1, 3, 32, 32)},
        methods=("product",),
        budget=120.0,
        precision=1e-6,
        memory=5e8,
        seed=7,
        baseline=HERE / "accepted.toml",
        limits=Limits(
            5.0,
            Relative(1.0),
            8.0,
            (("/head/*", 3.0), ("op:Relu", None)),
            (("p95", 3.0), ("max", 4.0)),
            ((0.25, Relative(0.99)),),
            0.95,
        ),
        levels={"LIP002": "warn", "LIP004": "off"},
        waivers=(Waiver("layer:/a*", "soon", "2027-01-31"),),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modle = 'm.onnx'", "unknown key 'modle'; did you mean 'model'?"),
        ("[limits]\nuper = 3", "unknown key 'uper'; did you mean 'upper'?"),
        ("[limits.local]\np59 = 3", "did you mean 'p95'?"),
        ("[limits.certified]\nacuracy = 1\nradius = 1", "did you mean 'accuracy'?"),
        ("[[models]]\nmodel='a'\nnrom = 'l2'", "models 1: unknown key 'nrom'; did you mean 'norm'?"),
        ("preprocess = {scal = 255}", "did you mean 'scale'?"),
        ("zzz = 1", "(known: model, norm,"),
        ("norm = 'l3'", "norm must be one of l1, l2, linf, or a pair such as \"linf:l2\", not 'l3'"),
        ("model = 3", "model must be a text"),
        ("domain = [1, 0]", "domain must be [low, high]"),
        ("domain = [0, nan]", "domain must be [low, high]"),
        ("domain = 1", "domain must be [low, high]"),
        ("preprocess = 'imagenet'", "preprocess must be"),
        ("preprocess = {}", "either scale, or mean and std"),
        ("preprocess = {scale = 0}", "must be positive"),
        ("preprocess = {scale = 2, mean = [1]}", "either scale, or mean and std"),
        ("preprocess = {mean = [1, 2], std = [1, 2, 3]}", "2 means for 3"),
        ("preprocess = {mean = [true]}", "mean must be a number"),
        ("shape = {x = [1, 0]}", "shape.x must be a list of whole numbers"),
        ("budget = 'soon'", "is no duration"),
        ("seed = -1", "seed must be a whole number"),
        ("method = []", "method must be"),
        ("limits = 3", "limits must be a table"),
        ("[limits]\nupper = inf", "upper must be a finite number"),
        ("[limits]\nupper = nan", "upper must be a finite number"),
        ("[limits]\nupper = -1", "upper must be a finite number of at least 0"),
        ("[limits]\nupper = true", "upper must be a finite number"),
        ("[limits]\nupper = '3'", "upper must be a finite number"),
        ("[limits]\nratio = 0.5", "at least 1"),
        ("[limits.layers]\n'/a' = 'x'", "/a must be a finite number"),
        ("[limits.local]", "local must be a table with a limit in it"),
        ("[limits.certified]\nradius = 1", "radius and accuracy belong together"),
        ("[limits.certified]\nradius = 1\naccuracy = 1.5", "accuracy must be a number from 0 to 1"),
        ("baseline = 3", "baseline must be a text"),
        ("[limits]\nupper = 'baseline'", "relative to a baseline; say which file"),
        ("baseline = 'b'\n[limits]\nupper = {baseline = 0}", "with a positive factor"),
        ("baseline = 'b'\n[limits]\nupper = {basline = 1}", "did you mean 'baseline'?"),
        ("[limits]\nupper = 'off'", 'or "baseline" or {baseline = 1.05}'),
        ("[limits.certified]\nradius = 1\naccuracy = 'best'", "a number from 0 to 1, or"),
        ("[[limits.certified]]\nclean_accuracy = 1\n[[limits.certified]]\nclean_accuracy = 0.5", "given 2 times"),
        ("[rules]\nraito = 'off'", "did you mean 'ratio'?"),
        ("[rules]\nratio = 'of'", "one of off, warn, error"),
        ("[rules]\nratio = 'off'\nLIP002 = 'warn'", "given once, by its name or as LIP002"),
        ("[[waivers]]\nreason = 'r'\nexpires = 2027-01-31", "say which rule is waived"),
        ("[[waivers]]\nrule = 'clean'\nexpires = 2027-01-31", "needs a reason"),
        ("[[waivers]]\nrule = 'clean'\nreason = ' '\nexpires = 2027-01-31", "needs a reason"),
        ("[[waivers]]\nrule = 'clean'\nreason = 'r'", "needs its last day"),
        ("[[waivers]]\nrule = 'clean'\nreason = 'r'\nexpires = '2027-01-31'", "without quotes"),
        ("[[waivers]]\nrule = 'clean'\nreason = 'r'\nexpires = 2027-01-31T00:00:00", "must be a date"),
        ("[[waivers]]\nrule = 'clean'\nreson = 'r'", "did you mean 'reason'?"),
        ("model = 'a'\n[[models]]\nmodel = 'b'", "either model or [[models]]"),
        ("[[models]]\nnorm = 'l1'", "a model is missing"),
        ("models = 'a'", "models must be a table"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(text)
    assert said in str(caught.value)
    assert "lipaudit.toml" in str(caught.value) or "duration" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_certified_may_be_a_list() -> None:
    limits = only(
        "model = 'm'\n[[limits.certified]]\nradius = 0.1\naccuracy = 0.9\n"
        "[[limits.certified]]\nradius = 0.2\naccuracy = 0.8\nclean_accuracy = 0.95"
    ).limits
    assert limits.certified == ((0.1, 0.9), (0.2, 0.8))
    assert limits.clean_accuracy == 0.95


def test_several_models_override_the_top_level() -> None:
    policy = parsed(
        "norm = 'l1'\npreprocess = 'none'\n[limits]\nupper = 5\n"
        "[[models]]\nmodel = 'a.onnx'\n[[models]]\nmodel = 'b.onnx'\nnorm = 'l2'\nlimits = {ratio = 3}"
    )
    one, other = policy.models
    assert (one.norm, one.limits) == ("l1", Limits(upper=5.0))
    assert (other.norm, other.limits) == ("l2", Limits(ratio=3.0))
    assert one.preprocess == other.preprocess == Preprocessing((0.0,), (1.0,), "none")


def test_a_policy_without_anything_is_empty() -> None:
    policy = parsed("")
    assert policy.models == ()
    assert policy.base.limits.empty
    assert policy.base.preprocess is None


@pytest.mark.parametrize(
    ("text", "value"), [("60s", 60.0), ("2m", 120.0), ("90", 90.0), (" 1.5 s", 1.5), ("1h", 3600.0)]
)
def test_durations(text: str, value: float) -> None:
    assert duration(text) == value


@pytest.mark.parametrize("text", ["", "s", "-1", "0", "1d", "nan", "inf", "1e400", "1 2", "9" * 400])
def test_no_durations(text: str) -> None:
    with pytest.raises(UsageError):
        duration(text)
