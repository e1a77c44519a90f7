"""Rewrites of a graph into an equal one that is easier to bound. One rewrite a file, applied in this order."""

from __future__ import annotations

from collections.abc import Callable

from lipaudit.graph.graph import Graph, prune
from lipaudit.graph.simplify.fuse_activations import fuse_activations
from lipaudit.graph.simplify.fuse_choices import fuse_choices
from lipaudit.graph.simplify.fuse_exponentials import fuse_exponentials
from lipaudit.graph.simplify.fuse_leaky import fuse_leaky
from lipaudit.graph.simplify.fuse_lengths import fuse_lengths
from lipaudit.graph.simplify.fuse_normalise import fuse_normalise
from lipaudit.graph.simplify.mark_averages import mark_averages
from lipaudit.graph.simplify.merge_affine import merge_affine
from lipaudit.graph.simplify.pair_sorts import pair_sorts

REWRITES: tuple[Callable[[Graph], Graph], ...] = (
    fuse_choices,
    fuse_exponentials,
    fuse_activations,
    fuse_leaky,
    fuse_lengths,
    fuse_normalise,
    pair_sorts,
    merge_affine,
    mark_averages,
)


def simplify(graph: Graph) -> Graph:
    """The same function of the same input: what was taken apart recognised, pairs sorted, linear runs merged."""
    graph = prune(graph)
    for rewrite in REWRITES:
        graph = prune(rewrite(graph))
    return graph
