"""From a checkpoint or an exported file to poses, results and metrics."""
