"""Drawing of poses on pictures, and writing of the drawings to disk."""
from .files import write_picture
from .people import draw_people

__all__ = ['draw_people', 'write_picture']
