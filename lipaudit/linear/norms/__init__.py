"""Certified operator norms, one method a file."""
