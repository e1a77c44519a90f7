"""Certified audits of a trained network's Lipschitz constant."""
