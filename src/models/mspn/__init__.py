"""MSPN."""
