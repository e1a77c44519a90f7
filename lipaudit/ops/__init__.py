"""The operators a graph is made of: few families, each deriving every rule once."""
