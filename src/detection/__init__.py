"""Boxes of people on pictures, from a detector in an ONNX file."""
from .detector import DetectedPeople, PersonDetector

__all__ = ['DetectedPeople', 'PersonDetector']
