"""MIPNet."""
