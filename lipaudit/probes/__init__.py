"""Lower bounds and local sensitivity: what is attained somewhere, never what holds everywhere."""
