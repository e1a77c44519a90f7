"""The words of a report, each in two or three sentences, for `lipaudit explain`."""

from __future__ import annotations

GLOSSARY = {
    "attained": (
        "A proven lower bound: two inputs x and y are kept whose outputs are that many times further apart than they "
        "are. The true constant is at least this."
    ),
    "bound": (
        "Always an upper bound here: |f(x) - f(y)| <= L |x - y| for all x, y of the region, with L rounded up at every "
        "step. A value that is merely computed or sampled is never called a bound."
    ),
    "bracket": (
        "[lower, upper]: the true constant lies in it. The lower end is attained at a witness, the upper end is "
        "certified; their ratio says how much is still unknown."
    ),
    "certified": (
        "Proven, with every rounding accounted for, for the function that the stored weights describe in real "
        "arithmetic. Only certified numbers can pass a limit of the gate on the constant or on radii."
    ),
    "domain": (
        "The raw inputs that are possible, as a box. A bound over a domain may be smaller than one over all inputs, "
        "and says nothing outside of it."
    ),
    "estimate": "A statistic of samples. It may lie on either side of the truth, and no gate takes it for a bound.",
    "gain": (
        "The Lipschitz constant of one layer by itself, from its input to its output. The product of the gains along a "
        "chain is a bound of the whole, usually a loose one."
    ),
    "inconclusive": (
        "The third verdict: something that a rule needs was not proven, not given or not readable. It is never a pass; "
        "the exit code is 3."
    ),
    "l1": "The sum of absolute values. The gain of a matrix is its largest column sum.",
    "l2": "The Euclidean length. The gain of a matrix is its largest singular value.",
    "linf": "The largest absolute value. The gain of a matrix is its largest row sum.",
    "lipschitz": (
        "A function is L-Lipschitz when no two outputs are further apart than L times their inputs. The smallest such "
        "L is its Lipschitz constant."
    ),
    "local": (
        "At one input: the norm of the Jacobian there, which is how much an infinitesimal change is amplified. It is "
        "numeric (float64, no proof) and says nothing about other inputs."
    ),
    "margin": "The score of the predicted class minus that of another. A radius is a margin over a Lipschitz constant.",
    "numeric": "A value computed in float64 without a proof of its rounding error. Printed to be read, not relied on.",
    "parity": (
        "The audited graph and onnxruntime are run at the same few points before any bound is computed. Where they "
        "differ by more than the runtime's own rounding, the model is refused."
    ),
    "radius": (
        "A distance, rounded down, within which no input changes the predicted class (for a regression: moves the "
        "output further than the tolerance). 0 for a sample that is misclassified."
    ),
    "ratio": "The upper end of a bracket over its lower end. 1 means that the constant is known exactly.",
    "witness": "The pair of inputs at which a lower bound is attained. Anyone can check it by running the model twice.",
}
