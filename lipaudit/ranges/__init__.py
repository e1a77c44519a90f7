"""What values and slopes are possible near a point: ranges over balls of inputs, and the forms they are read from."""
