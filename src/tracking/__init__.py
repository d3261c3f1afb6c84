"""People over the frames of a video: who is who, and poses that do not shake."""
from .tracker import PoseTracker

__all__ = ['PoseTracker']
