"""Linear maps between tensor spaces and certified bounds of their operator norms."""
