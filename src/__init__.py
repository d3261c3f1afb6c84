"""Top-down 2D human pose estimation with MindSpore.

    from src import PoseEstimator
    poses = PoseEstimator('pose.ckpt')(image_bgr, boxes_xywh)

Importing the package does not import MindSpore; it sets the environment variables that MindSpore reads at its start.
"""
import importlib

from .system import device  # noqa: F401

# The public names, and the modules that define them.
_PUBLIC = {'PoseEstimator': '.inference.estimator', 'build_network': '.models.registry',
           'load_recipe': '.config', 'load_weights': '.checkpoints.load', 'read_weights': '.checkpoints.load',
           'PersonDetector': '.detection', 'PoseTracker': '.tracking', 'PoseError': '.system.errors'}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(_PUBLIC[name], __name__), name)
