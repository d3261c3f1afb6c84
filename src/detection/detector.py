"""An ONNX detector of any known format -> the boxes of the people on a picture."""
from typing import NamedTuple, Optional, Tuple

import cv2
import numpy as np

from ..export.runtimes import installed_runtimes, load_graph
from ..system.errors import PoseError
from .output_formats import KNOWN_FORMATS, Pixels, recognise

# IoU above which the box with the lower score is dropped; boxes of two people who hug overlap less than this.
MAX_OVERLAP = 0.65
# Most people taken from one picture, since each costs a crop.
MAX_PEOPLE = 300
DETECTOR_RUNTIMES = ('onnxruntime', 'openvino')
# Input size for detectors that take any size.
DEFAULT_SIDE = 640


class DetectedPeople(NamedTuple):
    """The people on a picture, highest score first.

    Attributes:
        boxes_xywh: (P, 4) float64, pixels of the picture, inside it.
        scores: (P,) float64, from 0 to 1.
    """

    boxes_xywh: np.ndarray
    scores: np.ndarray


class PersonDetector:
    """Finds people with a detector in an ONNX file; the detector's family is recognised from its outputs.

    Args:
        path: of the file.
        runtime: 'onnxruntime' or 'openvino'; '' takes what is installed, the former first.
        threads: of the runtime; 0 lets the runtime choose.
        threshold: boxes with a higher score are people; None takes the default of the family.
        nms_threshold: IoU above which the box with the lower score is dropped.

    Attributes:
        format_name: the recognised family.
        input_shape: (H, W) of the network.

    Raises:
        PoseError: the file is missing, damaged or not a detector of a known format; the message names the file.
        ImportError: the runtime is not installed.
    """

    def __init__(self, path: str, *, runtime: str = '', threads: int = 0,
                 threshold: Optional[float] = None, nms_threshold: float = MAX_OVERLAP):
        self.path = str(path)
        if not self.path.endswith('.onnx'):
            raise PoseError(f'the detector {self.path} should be an ONNX file (.onnx)')
        for name, value in (('threshold', threshold), ('nms_threshold', nms_threshold)):
            if value is not None and not 0 <= value <= 1:
                raise PoseError(f'{name} of a detector should be between 0 and 1, is {value}')
        runtime = runtime or next(iter(installed_runtimes(self.path)), 'onnxruntime')
        self._graph = load_graph(self.path, runtime, threads=threads, what='the detector')
        self.input_shape = self._input_shape()
        self._format = recognise(self.path, self.input_shape, self._graph.outputs, self._probe(), self._graph.metadata)
        self.format_name = self._format.name
        self.threshold = self._format.threshold if threshold is None else threshold
        self._nms_threshold = nms_threshold

    def _input_shape(self) -> Tuple[int, int]:
        shapes = self._graph.shapes
        if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] != 3 or shapes[0][0] not in (1, None):
            raise PoseError(f'{self.path} is no detector that is known here: its inputs are '
                            f'{", ".join(map(str, shapes[:4]))} instead of one picture (1, 3, height, width)')
        height, width = (side or DEFAULT_SIDE for side in shapes[0][2:])
        if height % 32 or width % 32:
            raise PoseError(f'{self.path} is no detector that is known here: its input of {height} x {width} pixels is '
                            f'no multiple of 32, as that of {"; ".join(KNOWN_FORMATS)}')
        return height, width

    def _probe(self):
        """Return the outputs for a picture of noise, which show the shapes that the file leaves open."""
        noise = np.random.default_rng(0).integers(0, 256, (1, 3, *self.input_shape)).astype(np.float32)
        return self._run(noise)

    def _run(self, images: np.ndarray):
        try:
            return self._graph.run(images)
        except Exception as error:  # noqa: BLE001  each runtime has its own exceptions
            raise PoseError(f'the detector {self.path} fails on an input of the shape {images.shape}: '
                            f'{" ".join(str(error).split())[:300]}') from None

    def __str__(self) -> str:
        return f'{self.format_name} ({self.path}, {self.input_shape[0]}x{self.input_shape[1]})'

    def __call__(self, picture_bgr: np.ndarray) -> DetectedPeople:
        """Return the people on a picture (H, W, 3) uint8, blue, green, red."""
        images, scale, offset = letterbox(picture_bgr, self.input_shape, self._format.pixels)
        boxes, scores = self._format.decode(self._run(images))
        size = np.array([picture_bgr.shape[1], picture_bgr.shape[0]], np.float64)
        boxes = boxes.astype(np.float64).reshape(-1, 2, 2)
        # Boxes that are not finite are dropped.
        kept = (scores > self.threshold) & np.isfinite(boxes).all(axis=(1, 2))
        corners = np.clip((boxes[kept] - offset) / scale, 0, size)
        scores = scores[kept].astype(np.float64)
        boxes_xywh = np.concatenate([corners[:, 0], corners[:, 1] - corners[:, 0]], axis=1)
        has_area = (boxes_xywh[:, 2:] >= 1).all(axis=1)
        boxes_xywh, scores = boxes_xywh[has_area], scores[has_area]
        order = np.argsort(-scores, kind='stable')
        if not self._format.has_suppression and len(order):
            order = np.asarray(cv2.dnn.NMSBoxes(boxes_xywh.tolist(), scores.tolist(), 0.0, self._nms_threshold),
                               np.int64).ravel()
        order = order[:MAX_PEOPLE]
        return DetectedPeople(boxes_xywh[order], scores[order])


def letterbox(picture_bgr: np.ndarray, input_shape: Tuple[int, int], pixels: Pixels
              ) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit a picture into a detector's input and keep its aspect ratio.

    Returns:
        (1, 3, H, W) float32, and scale (2,) and offset (2,), both x and y: input = picture * scale + offset.
    """
    height, width = picture_bgr.shape[:2]
    ratio = min(input_shape[0] / height, input_shape[1] / width)
    size = np.maximum(1, np.round([width * ratio, height * ratio])).astype(int)
    size = np.minimum(size, [input_shape[1], input_shape[0]])
    shrunk = cv2.resize(picture_bgr, tuple(size.tolist()), interpolation=cv2.INTER_LINEAR)
    offset = (np.array([input_shape[1], input_shape[0]]) - size) // 2 if pixels.is_centered else np.zeros(2, int)
    canvas = np.full((*input_shape, 3), pixels.padding, np.uint8)
    canvas[offset[1]:offset[1] + size[1], offset[0]:offset[0] + size[0]] = shrunk
    if pixels.is_rgb:
        canvas = canvas[:, :, ::-1]
    images = (canvas.astype(np.float32) - np.float32(pixels.mean)) / np.float32(pixels.std)
    return np.ascontiguousarray(images.transpose(2, 0, 1)[None]), size / [width, height], offset
