"""Inference: the chain from a picture, a video or a camera to drawings and tables of results."""
