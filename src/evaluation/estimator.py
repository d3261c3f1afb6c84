"""Poses in three lines of Python: a checkpoint or an exported file, pictures and boxes → keypoints in the pictures.

    from src import PoseEstimator
    estimator = PoseEstimator('pose.ckpt')
    poses = estimator(image_bgr, boxes_xywh)
"""
from typing import List, NamedTuple, Optional, Sequence, Union

import numpy as np

from ..checkpoints.configuration import resolve_test_config
from ..config import input_shape
from ..data.geometry import find_unusable_boxes
from ..data.samples import cut_crop
from ..datasets.registry import configured_skeleton
from ..export.runtimes import default_runtime, open_model_file
from ..models.registry import model_of
from ..system.device import set_up_device
from ..system.errors import PoseError
from .load_model import LoadedModel
from .results import person_scores

MODEL_ENDINGS = ('.onnx', '.mindir')


class PosesOfPicture(NamedTuple):
    """The poses of P people on a picture, in the order of their boxes.

    Attributes:
        keypoints: (P, K, 3) float64: x, y in picture pixels, and the score of the keypoint.
        scores: (P,) float64, of the people: the mean of their keypoints' scores, as the network's protocol takes it.
        boxes_xywh: (P, 4) float64, what was cropped.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    boxes_xywh: np.ndarray


class PoseEstimator:
    """A pose network, ready to run on pictures in memory.

    Args:
        path: a checkpoint (.ckpt, or published weights in any known format), an ONNX or a MINDIR file.
        recipe: of the network, for weights that do not carry it.
        runtime: 'onnxruntime' or 'openvino' for an ONNX file, 'mindir', 'mindspore'; by the ending unless given.
        precision: 'f32' or, of openvino, 'bf16'.
        threads: of onnxruntime and openvino; 0 leaves it to them.
        flip_test: average with the mirrored crops; None does as the recipe says, or as the file has it inside.
        device: of MindSpore: 'auto', 'Ascend', 'GPU' or 'CPU'.
        settings: further {config key: value}, such as {'TEST.BATCH_SIZE': 8}.

    Attributes:
        keypoint_names: of the K keypoints.
        skeleton: their layout, which `visualization.draw_people` takes.
        config: the resolved configuration.

    Raises:
        PoseError: the file is missing, damaged or does not fit; the message says why.
        ImportError: the runtime is not installed.
    """

    def __init__(self, path: str, *, recipe: Optional[str] = None, runtime: Optional[str] = None,
                 precision: str = 'f32', threads: int = 0, flip_test: Optional[bool] = None, device: str = 'auto',
                 settings: Optional[dict] = None):
        overrides = {**(settings or {}), **({} if flip_test is None else {'TEST.FLIP_TEST': flip_test})}
        source = _open(path, runtime, precision, threads)
        if source.needs_mindspore:
            set_up_device(device)
        if source.model is not None and source.model.has_decoder and flip_test is None:
            # Nobody can add the flip test to keypoints.
            overrides.setdefault('TEST.FLIP_TEST', source.model.has_flip_test)
        self.config, _ = resolve_test_config(recipe, source.carried, path, lambda _: overrides, tell=lambda _: None)
        source.settle(self.config, overrides)
        self.skeleton, self._crops = configured_skeleton(self.config), model_of(self.config).crops(self.config)
        self._predictor = source.build_predictor(self.config, self.skeleton.flip_index)
        self.keypoint_names = self.skeleton.keypoint_names

    def __call__(self, images: Union[np.ndarray, Sequence[np.ndarray]],
                 boxes_xywh: Union[None, np.ndarray, Sequence] = None) -> Union[PosesOfPicture, List[PosesOfPicture]]:
        """Return the poses in the boxes of a picture, or of several pictures in common batches.

        Args:
            images: (H, W, 3) uint8, blue, green, red, as OpenCV reads them; or a list of such pictures.
            boxes_xywh: (P, 4): left, top, width, height in pixels; for several pictures a list of such arrays, or of
                None. Without boxes the whole picture is one. Of a MIPNet the poses are those of the people whom the
                boxes belong to.

        Raises:
            PoseError: a picture or a box cannot be; it is named by its number, from 0.
        """
        if isinstance(images, np.ndarray) and images.ndim == 3:
            return self([images], [boxes_xywh])[0]
        boxes = [None] * len(images) if boxes_xywh is None else list(boxes_xywh)
        if len(boxes) != len(images):
            raise PoseError(f'there are {len(images)} pictures and boxes for {len(boxes)}')
        boxes = [_checked_boxes(image, each, number) for number, (image, each) in enumerate(zip(images, boxes))]
        owners = np.repeat(np.arange(len(images)), [len(each) for each in boxes])
        keypoints = self._predict([images[owner] for owner in owners], np.concatenate([np.empty((0, 4)), *boxes]))
        scores = person_scores(np.ones(len(keypoints)), keypoints[:, :, 2],
                               model_of(self.config).keypoint_threshold(self.config)) if len(keypoints) else np.empty(0)
        return [PosesOfPicture(keypoints[owners == number], scores[owners == number], each)
                for number, each in enumerate(boxes)]

    def _predict(self, pictures: List[np.ndarray], boxes: np.ndarray) -> np.ndarray:
        """Return the keypoints (P, K, 3) in P boxes of as many pictures."""
        height, width = input_shape(self.config)
        predictor, found = self._predictor, []
        size = predictor.batch_size if predictor.needs_whole_batches else min(predictor.batch_size, max(1, len(boxes)))
        for start in range(0, len(boxes), size):
            rows = range(start, min(start + size, len(boxes)))
            crops = np.empty((size, height, width, 3), np.uint8)
            centers, scales = np.empty((len(rows), 2), np.float32), np.empty((len(rows), 2), np.float32)
            for place, row in enumerate(rows):
                crop = self._crops.test_crop(boxes[row], width / height)
                cut_crop(pictures[row], crop, crops[place])
                centers[place], scales[place] = crop.center, crop.scale
            # One shape only: a graph is compiled for each.
            crops[len(rows):] = crops[0]
            # The first hypothesis comes first.
            outputs = [each[:len(rows)] for each in predictor.run(crops)]
            positions, scores = predictor.decode(*outputs, centers, scales)
            found.append(np.concatenate([positions, scores[..., None]], axis=2))
        return np.concatenate(found) if found else np.empty((0, self.skeleton.num_keypoints, 3))


def _open(path: str, runtime: Optional[str], precision: str, threads: int) -> LoadedModel:
    if str(path).endswith(MODEL_ENDINGS):
        model = open_model_file(str(path), runtime or default_runtime(str(path)), precision=precision, threads=threads)
        return LoadedModel(model.path, model.config, model=model)
    if runtime not in (None, 'mindspore') or precision != 'f32' or threads:
        raise PoseError(f'{path} is no exported file: runtime, precision and threads are for .onnx and .mindir')
    from ..checkpoints.load import read_weights
    weights, carried = read_weights(str(path))
    return LoadedModel(str(path), carried, weights=weights)


def _checked_boxes(image, boxes, number: int) -> np.ndarray:
    """Return the boxes (P, 4) of a picture."""
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 \
            or not image.size:
        told = f'{image.dtype} {image.shape}' if isinstance(image, np.ndarray) else type(image).__name__
        raise PoseError(f'picture {number} should be (H, W, 3) uint8, is {told}; cv2.imread gives None for a file that '
                        'it cannot read')
    if boxes is None:
        return np.array([[0, 0, image.shape[1], image.shape[0]]], np.float64)
    boxes = np.asarray(boxes, np.float64)
    if boxes.size == 0:
        return np.empty((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise PoseError(f'the boxes of picture {number} should be (P, 4): x, y, width, height; they are {boxes.shape}')
    not_finite, without_area = find_unusable_boxes(boxes)
    if (not_finite | without_area).any():
        row = int(np.flatnonzero(not_finite | without_area)[0])
        raise PoseError(f'box {row} of picture {number} cannot be cropped: {boxes[row].tolist()}')
    return boxes
