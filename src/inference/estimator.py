"""Poses in three lines of Python: a checkpoint or an exported file, pictures and boxes → keypoints in the pictures.

    from src import PoseEstimator
    estimator = PoseEstimator('pose.ckpt', detector='yolox.onnx')
    poses = estimator(image_bgr)
"""
from typing import Callable, Iterator, List, Optional, Sequence, Union

import numpy as np

from ..checkpoints.configuration import resolve_test_config
from ..data.geometry import find_unusable_boxes
from ..datasets.registry import configured_skeleton
from ..detection import DETECTOR_RUNTIMES, PersonDetector
from ..evaluation.load_model import MODEL_ENDINGS, LoadedModel
from ..export.model_file import open_model_file
from ..export.runtimes import quickest_runtime
from ..media.inputs import Input, find_inputs
from ..system.device import set_up_device
from ..system.errors import PoseError
from ..tracking import PoseTracker
from .box_poses import BoxPoser, PosesOfPicture
from .bundled import bundled_weights
from .pipeline import BoxSource, PosedFrame, pose_frames
from .two_passes import pose_frames_in_two_passes


class PoseEstimator:
    """A pose network, ready to run on pictures in memory.

    Args:
        path: a checkpoint (.ckpt, or published weights in any known format), an ONNX or a MINDIR file; by
            default the small network that is bundled with this package.
        weights: the name of published weights, instead of a path; they are downloaded if needed
            (`python -m src.checkpoints.zoo list` shows the names).
        detector: of people: the path of an ONNX file (formats: see `PersonDetector`), or a function of a picture that
            returns boxes (P, 4) and scores (P,). Without one the whole picture is the box.
        recipe: of the network, for weights without a recipe inside.
        runtime: 'onnxruntime' or 'openvino' for an ONNX file, 'mindir', 'mindspore'; by default chosen by the
            file's ending, and openvino for an ONNX file where it is installed and `auto` takes bf16.
        precision: of openvino: 'f32', 'bf16', or 'auto', which is bf16 where the processor computes
            faster in it.
        threads: of onnxruntime and openvino; 0 lets them choose.
        flip_test: average with the mirrored crops; None takes the setting of the recipe or of the exported file.
        device: of MindSpore: 'auto', 'Ascend', 'GPU' or 'CPU'.
        settings: further {config key: value}, such as {'TEST.BATCH_SIZE': 8}.

    Attributes:
        keypoint_names: of the K keypoints.
        skeleton: their layout, which `visualization.draw_people` takes.
        detector: the person detector, or None.
        config: the resolved configuration.

    Raises:
        PoseError: the file is missing, damaged or does not fit; the message says why.
        ImportError: the runtime is not installed.
    """

    def __init__(self, path: Optional[str] = None, *, weights: Optional[str] = None,
                 detector: Union[None, str, Callable] = None, recipe: Optional[str] = None,
                 runtime: Optional[str] = None, precision: str = 'auto', threads: int = 0,
                 flip_test: Optional[bool] = None, device: str = 'auto', settings: Optional[dict] = None):
        if weights is not None:
            if path is not None:
                raise PoseError(f'give a path or the name of weights, not both: {path}, {weights}')
            # Imported here: nobody else has to wait for the modules of downloads.
            from ..checkpoints.zoo import fetch_checkpoint
            path = fetch_checkpoint(weights)
        if path is None:
            bundled = bundled_weights()
            path, recipe = bundled.path, recipe or bundled.recipe
        overrides = {**(settings or {}), **({} if flip_test is None else {'TEST.FLIP_TEST': flip_test})}
        source = _open(path, runtime, precision, threads)
        if source.needs_mindspore:
            set_up_device(device)
        if source.model is not None and source.model.has_decoder and flip_test is None:
            # A file that outputs keypoints either has the flip test inside or cannot have it.
            overrides.setdefault('TEST.FLIP_TEST', source.model.has_flip_test)
        self.config, _ = resolve_test_config(recipe, source.carried, path, lambda _: overrides, tell=lambda _: None)
        source.settle(self.config, overrides)
        self.skeleton = configured_skeleton(self.config)
        self._poser = BoxPoser(self.config, source.build_predictor(self.config, self.skeleton.flip_index),
                               self.skeleton, is_compiled=source.needs_mindspore)
        self.detector = detector
        if isinstance(detector, str):
            self.detector = PersonDetector(detector, runtime=runtime if runtime in DETECTOR_RUNTIMES else '',
                                           threads=threads)
        self.keypoint_names = self.skeleton.keypoint_names

    def __call__(self, images: Union[np.ndarray, Sequence[np.ndarray]],
                 boxes_xywh: Union[None, np.ndarray, Sequence] = None) -> Union[PosesOfPicture, List[PosesOfPicture]]:
        """Return the poses in the boxes of a picture, or of several pictures in common batches.

        Args:
            images: (H, W, 3) uint8, blue, green, red, as OpenCV reads them; or a list of such pictures.
            boxes_xywh: (P, 4): left, top, width, height in pixels; for several pictures a list of such arrays, or of
                None. Without boxes the detector finds them, and without a detector the whole picture is one box. A
                MIPNet returns only the person that each box belongs to.

        Raises:
            PoseError: a picture or a box is not valid; the message gives its number, from 0.
        """
        if isinstance(images, np.ndarray) and images.ndim == 3:
            return self([images], [boxes_xywh])[0]
        boxes = [None] * len(images) if boxes_xywh is None else list(boxes_xywh)
        if len(boxes) != len(images):
            raise PoseError(f'there are {len(images)} pictures and boxes for {len(boxes)}')
        boxes = [_checked_boxes(image, each, number) for number, (image, each) in enumerate(zip(images, boxes))]
        detected = [self._source(each).boxes_on(image) for image, each in zip(images, boxes)]
        return self._poser.in_order_of_boxes(images, *([each[part] for each in detected] for part in (0, 1)))

    def _source(self, boxes_xywh: Optional[np.ndarray]) -> BoxSource:
        return BoxSource(self.detector, boxes_xywh)

    def frames(self, inputs: Union[str, Input, Sequence], *, boxes_xywh: Optional[Sequence] = None,
               detect_every: int = 1, tracker: Optional[PoseTracker] = None,
               on_problem: Optional[Callable[[Exception], None]] = None) -> Iterator[PosedFrame]:
        """Yield the poses of pictures, folders, patterns, videos and cameras as `infer.py` takes them, frame by frame.

        Reading and detection run ahead in their own threads, and a batch may hold people of several frames. The people
        of a frame come with the highest score first, with duplicates suppressed as in the network's protocol.

        Args:
            inputs: words, see `find_inputs` ('0' is the first camera); or `Input` records.
            boxes_xywh: (P, 4), the same for every frame, instead of a detector.
            detect_every: in a video the detector runs on every n-th frame; in between the boxes come from the last
                poses.
            tracker: a `PoseTracker`, which gives people of a video their ids and smooths their poses.
            on_problem: gets the error of a picture that cannot be read; without it the error is raised.

        Raises:
            PoseError: an input is missing or cannot be read.
        """
        def fail(error: Exception) -> None:
            raise error

        words = [inputs] if isinstance(inputs, (str, Input)) else list(inputs)
        found = words if all(isinstance(each, Input) for each in words) else find_inputs(words)
        box = None if boxes_xywh is None else _usable_boxes(boxes_xywh, 'every picture')
        pose = pose_frames_in_two_passes if tracker is not None and tracker.smooth == 'file' else pose_frames
        yield from pose(found, self._poser, self._source(box), detect_every=detect_every, tracker=tracker,
                        on_problem=on_problem or fail)


def _open(path: str, runtime: Optional[str], precision: str, threads: int) -> LoadedModel:
    if str(path).endswith(MODEL_ENDINGS):
        runtime = runtime or quickest_runtime(str(path), precision)
        model = open_model_file(str(path), runtime, precision=precision, threads=threads)
        return LoadedModel(model.path, model.config, model=model)
    if runtime not in (None, 'mindspore') or precision == 'bf16' or threads:
        raise PoseError(f'{path} is no exported file: runtime, precision and threads are for .onnx and .mindir')
    from ..checkpoints.load import read_weights
    weights, carried = read_weights(str(path))
    return LoadedModel(str(path), carried, weights=weights)


def _checked_boxes(image, boxes, number: int) -> Optional[np.ndarray]:
    """Return the given boxes (P, 4) of a picture, or None if none are given."""
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 \
            or not image.size:
        told = f'{image.dtype} {image.shape}' if isinstance(image, np.ndarray) else type(image).__name__
        raise PoseError(f'picture {number} should be (H, W, 3) uint8, is {told}; cv2.imread gives None for a file that '
                        'it cannot read')
    if boxes is None:
        return None
    return _usable_boxes(boxes, f'picture {number}')


def _usable_boxes(boxes, where: str) -> np.ndarray:
    boxes = np.asarray(boxes, np.float64)
    if boxes.size == 0:
        return np.empty((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise PoseError(f'the boxes of {where} should be (P, 4): x, y, width, height; they are {boxes.shape}')
    not_finite, without_area = find_unusable_boxes(boxes)
    if (not_finite | without_area).any():
        row = int(np.flatnonzero(not_finite | without_area)[0])
        raise PoseError(f'box {row} of {where} cannot be cropped: {boxes[row].tolist()}')
    return boxes
