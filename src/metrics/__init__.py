"""The metrics of the published benchmarks, computed from results and ground truth."""
