"""Launching jobs of one or several processes."""
