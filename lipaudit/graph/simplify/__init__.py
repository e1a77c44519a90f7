"""Rewrites of a graph into an equal one that is easier to bound. One rewrite a file, applied in this order."""

from __future__ import annotations

from lipaudit.graph.graph import Graph, prune
from lipaudit.graph.simplify.fuse_activations import fuse_activations
from lipaudit.graph.simplify.merge_affine import merge_affine
from lipaudit.graph.simplify.pair_sorts import pair_sorts


def simplify(graph: Graph) -> Graph:
    """The same function of the same input: activations recognised, max/min pairs sorted, linear runs merged."""
    return prune(merge_affine(prune(pair_sorts(prune(fuse_activations(prune(graph)))))))
