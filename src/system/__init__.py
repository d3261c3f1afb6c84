"""The machine: device, processes, files, streams and command lines. Knows nothing of poses."""
