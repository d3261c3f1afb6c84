"""Files for other runtimes, and the runtimes."""
