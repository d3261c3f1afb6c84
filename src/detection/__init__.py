"""Boxes of people on pictures, from a detector in an ONNX file."""
from .detector import DETECTOR_RUNTIMES, DetectedPeople, PersonDetector

__all__ = ['DETECTOR_RUNTIMES', 'DetectedPeople', 'PersonDetector']
