"""The system layer: device, processes, files, streams and command lines. Independent of pose estimation."""
