"""AuditReport and its parts: everything a renderer or a gate needs, and nothing they would have to compute."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import Literal, final

import numpy as np

from lipaudit.numerics.bound import LowerBound, UpperBound
from lipaudit.report.baseline import Comparison
from lipaudit.report.finding import Finding
from lipaudit.report.metrics import metrics
from lipaudit.report.rule import RuleResult as RuleResult

Command = Literal["bound", "local", "certify", "gate", "check", "baseline"]


@final
@dataclass(frozen=True, slots=True)
class Tensor:
    """A named input or output of the model, in the shape that was audited. held: the value of one that is fixed."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    held: str | None = None


@final
@dataclass(frozen=True, slots=True)
class Parity:
    """The largest difference between the audited graph and onnxruntime over a few points."""

    points: int
    max_abs_difference: float
    tolerance: float


@final
@dataclass(frozen=True, slots=True)
class Batch:
    """What is known of an open leading axis. proven: that it is a batch. mixed: that its rows meet, or may."""

    proven: bool
    statement: str
    mixed: bool = False


@final
@dataclass(frozen=True, slots=True)
class Model:
    """Which file was audited. batch: None where no input leaves its leading axis open."""

    path: str
    sha256: str
    opset: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    parity: Parity | None
    batch: Batch | None = None


@final
@dataclass(frozen=True, slots=True)
class Region:
    """The inputs a bound speaks of: a box (kind 'box'), in the units of Problem.units."""

    kind: Literal["box"]
    low: float
    high: float
    source: str


@final
@dataclass(frozen=True, slots=True)
class Problem:
    """What is certified: |f(x) - f(y)| in norm_out <= L |x - y| in norm_in, for x, y in the region (None: all)."""

    norm_in: str
    norm_out: str
    region: Region | None
    units: str
    function: str


@final
@dataclass(frozen=True, slots=True)
class Layer:
    """The gain of one node of the simplified graph: of a run of linear nodes, or of a nonlinearity.

    node, op: names for a table; nodes: every ONNX node merged here; weight: its shape in a few characters.
    norms: of this gain ('linf -> l2') where the audit's two norms differ, else "".
    lower, seconds: of a linear map, a value its norm attains and the time that both took; gain.evidence is the method.
    """

    node: str
    op: str
    nodes: tuple[str, ...]
    weight: str
    gain: UpperBound
    norms: str = ""
    lower: LowerBound | None = None
    seconds: float | None = None

    @property
    def gap(self) -> float | None:
        """How far above the truth the gain is at most, relatively; None where no value is attained."""
        if self.lower is None or not self.gain.finite or not self.lower.value > 0.0:
            return None
        return max(0.0, self.gain.value / self.lower.value - 1.0)


@final
@dataclass(frozen=True, slots=True)
class Method:
    """What one engine answered. Exactly one of bound and reason is there."""

    name: str
    label: str
    seconds: float
    bound: UpperBound | None = None
    reason: str | None = None


@final
@dataclass(frozen=True, slots=True, eq=False)
class Attained:
    """A lower bound with its witness: |f(x) - f(y)| / |x - y| is at least bound.value."""

    name: str
    label: str
    seconds: float
    bound: LowerBound
    x: np.ndarray = field(repr=False)
    y: np.ndarray = field(repr=False)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Steepest:
    """A sample that the model amplifies most: where, how much ('numeric'), and in which direction.

    index: among the samples that were audited.
    point, direction: in the input's shape and in raw units; the direction has length 1 in the input's norm.
    """

    index: int
    norm: float
    point: np.ndarray = field(repr=False)
    direction: np.ndarray = field(repr=False)


@final
@dataclass(frozen=True, slots=True)
class Jump:
    """A node that jumps, and by how much its whole output at once."""

    node: str
    op: str
    height: UpperBound


@final
@dataclass(frozen=True, slots=True)
class AffineModulus:
    """|f(x) - f(y)| <= slope |x - y| + jump over the region, for a model that jumps at `nodes`."""

    slope: UpperBound
    jump: UpperBound
    nodes: tuple[Jump, ...]
    seconds: float = 0.0


@final
@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Jacobian norms at given inputs ('numeric': float64 values, no proof). values: [count].

    steepest: the few largest, largest first.
    """

    source: str
    values: np.ndarray = field(repr=False)
    directions: np.ndarray | None = field(default=None, repr=False)
    seconds: float = 0.0
    method: str = ""
    steepest: tuple[Steepest, ...] = ()

    @property
    def argmax(self) -> int:
        return int(np.argmax(self.values))

    def quantile(self, share: float) -> float:
        """The value below which this share of the samples lies, by linear interpolation."""
        return float(np.quantile(self.values, share))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Lipschitz constants over the balls |x' - x| <= radius around given inputs, one a sample, certified, rounded up.

    values: [count], inf where nothing was proven. Each ball is cut by the domain, where one is declared.
    lower: [count], what a pair of points inside each ball attains, rounded down; 0 where no pair was found.
    methods: the labels of what was tried; chosen: [count], which of them gave the sample's (smallest) bound.
    """

    source: str
    radius: float
    values: np.ndarray = field(repr=False)
    methods: tuple[str, ...]
    chosen: np.ndarray = field(repr=False)
    lower: np.ndarray = field(repr=False)
    seconds: float = 0.0

    @property
    def argmax(self) -> int:
        return int(np.argmax(self.values))

    @property
    def exact(self) -> int:
        """How many of the constants are known to six digits: what is certified and what is attained agree."""
        return int(np.sum(self.values <= self.lower * (1.0 + 1e-6)))

    @property
    def ratios(self) -> np.ndarray:
        """[count], certified over attained; 1 where both are 0, inf where nothing is attained or nothing certified."""
        some = self.lower > 0.0
        known = self.values / np.where(some, self.lower, 1.0)
        return np.asarray(np.where(some, known, np.where(self.values > 0.0, np.inf, 1.0)))

    def counts(self) -> dict[str, int]:
        """How many samples' bound each method gave, the methods that gave any."""
        found = {label: int(np.sum(self.chosen == place)) for place, label in enumerate(self.methods)}
        return {label: count for label, count in found.items() if count}


@final
@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """A sample and its counterexample, to be shown. index: among those audited; both of the input's shape, raw."""

    index: int
    point: np.ndarray = field(repr=False)
    changed: np.ndarray = field(repr=False)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Attack:
    """Counterexamples that were found, one a sample at most: an input that onnxruntime classifies otherwise.

    For a regression: one whose output is further than the tolerance from the sample's.

    values: [count] the distance from the sample, rounded up: no radius beyond it can be certified. 0 for a sample that
        is misclassified as it is, inf where nothing was found (which proves nothing).
    answers: [count] int64, the class that is given instead, for a regression the output that moved most; -1 for none.
    points: [count, *input_shape] in raw units, NaN where there is none.
    tried: [count] bool, whether the sample was attacked before the time was over.
    unconfirmed: samples whose candidates onnxruntime, or exact arithmetic, did not confirm.
    nearest: the few with the shortest distances, shortest first.
    """

    method: str
    values: np.ndarray = field(repr=False)
    answers: np.ndarray = field(repr=False)
    points: np.ndarray = field(repr=False)
    tried: np.ndarray = field(repr=False)
    unconfirmed: int = 0
    seconds: float = 0.0
    nearest: tuple[Nearest, ...] = ()

    @property
    def found(self) -> np.ndarray:
        """[count] bool: which samples have a counterexample."""
        return np.asarray(self.answers >= 0, dtype=bool)

    def accuracy_at(self, radius: float) -> float:
        """The share of samples without a counterexample closer than the radius: robust accuracy is at most this."""
        return float(np.mean((self.values > 0.0) & (self.values >= radius)))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Radii:
    """Certified radii, one a sample, rounded down; 0 for a misclassified sample. correct: [count] bool.

    labels: [count] whole numbers, where they were given.

    For a regression, `correct` is all true and the radius keeps every output within `tolerance`.
    attack: what was found from the other side, where it was looked for.
    whole: [count], the radii from constants over the whole domain alone, where constants over balls gave the values.
    """

    source: str
    values: np.ndarray = field(repr=False)
    correct: np.ndarray = field(repr=False)
    lipschitz: tuple[float, float]
    method: str
    tolerance: float | None = None
    seconds: float = 0.0
    attack: Attack | None = None
    labels: np.ndarray | None = field(default=None, repr=False)
    whole: np.ndarray | None = field(default=None, repr=False)

    @property
    def clean_accuracy(self) -> float:
        return float(np.mean(self.correct))

    def accuracy_at(self, radius: float) -> float:
        """The share of samples that are correct and cannot change within the radius (strictly closer)."""
        return float(np.mean(self.correct & (self.values >= radius)))


@final
@dataclass(frozen=True, slots=True)
class Run:
    """How the audit was made."""

    seconds: float
    seed: int
    versions: dict[str, str]


@final
@dataclass(frozen=True, slots=True, eq=False)
class AuditReport:
    """One audit of one model. What was not asked for is None or empty.

    drawn: the places among the samples given of those that were audited, where a limit was set.
    parts: the reports of the single models where a gate judged several; the rules, findings and verdict are of all.
    """

    command: Command
    model: Model
    problem: Problem
    run: Run
    layers: tuple[Layer, ...] = ()
    methods: tuple[Method, ...] = ()
    upper: Method | None = None
    lower: Attained | None = None
    samples: Samples | None = None
    regions: Regions | None = None
    radii: Radii | None = None
    modulus: AffineModulus | None = None
    certified_at: tuple[float, ...] = ()
    rules: tuple[RuleResult, ...] = ()
    baseline: Comparison | None = None
    verdict: Literal["pass", "fail", "inconclusive"] | None = None
    findings: tuple[Finding, ...] = ()
    assumptions: tuple[str, ...] = ()
    drawn: np.ndarray | None = None
    parts: tuple[AuditReport, ...] = ()

    def index(self, place: int) -> int:
        """Where the sample at this place stands among all that were given."""
        return place if self.drawn is None else int(self.drawn[place])

    @property
    def ratio(self) -> float | None:
        """Upper over lower, where both are there, finite and not 0."""
        if self.upper is None or self.upper.bound is None or self.lower is None:
            return None
        low, high = self.lower.bound.value, self.upper.bound.value
        return high / low if low > 0.0 and self.upper.bound.finite else None

    def metrics(self, prefix: str = "lipaudit/") -> dict[str, float]:
        """The numbers as a flat dictionary of finite floats, for mlflow.log_metrics or wandb.log."""
        return metrics(self, prefix)

    def _repr_html_(self) -> str:
        """What a notebook shows. The room that renders is found by name: plain data does not depend on how it looks."""
        html: str = import_module("lipaudit.render.notebook").notebook(self)
        return html
