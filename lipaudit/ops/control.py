"""Ops that hold graphs of their own: no rule bounds them, they are run in place while the file is read."""

from __future__ import annotations

_SINCE_11 = (11, 13, 16, 19, 21, 23, 24, 25)

CONTROL = {"If": (1, *_SINCE_11), "Loop": (1, *_SINCE_11), "Scan": (8, 9, 11, 16, 19, 21, 23, 24, 25)}
"""The ops, and the revisions that are read."""

UNROLLED = {
    "If": "the branch that a constant condition takes, in place of the node",
    "Loop": "every round in turn; how often it runs is constant, and at most 10,000",
    "Scan": "every round in turn, over slices of the scanned values",
}
"""What becomes of each; one whose condition or number of rounds depends on the input is refused."""
