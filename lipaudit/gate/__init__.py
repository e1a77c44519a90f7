"""The gate: a policy says what is required, a verdict whether it was proven. What is not known never passes."""
