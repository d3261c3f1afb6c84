"""Jobs of one or several processes."""
