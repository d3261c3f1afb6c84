"""Exporting networks to files for other runtimes, and running these files."""
