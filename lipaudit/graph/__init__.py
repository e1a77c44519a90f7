"""The audited function as a small graph, and the one way to walk it."""
