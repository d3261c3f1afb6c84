"""Tracking of people over the frames of a video, and smoothing of their poses."""
from .tracker import PoseTracker

__all__ = ['PoseTracker']
