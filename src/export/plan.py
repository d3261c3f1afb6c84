"""The plan of an export, which says what the file computes, made from the flags of export.py."""
import argparse
import os
from dataclasses import dataclass
from typing import Tuple

from easydict import EasyDict

from ..models.registry import num_hypotheses
from ..system.device import available_targets
from ..system.errors import PoseError

FILE_FORMATS = {'ONNX': '.onnx', 'MINDIR': '.mindir', 'AIR': '.air'}


@dataclass(frozen=True)
class ExportPlan:
    """What a file computes.

    Attributes:
        file_format: one of FILE_FORMATS.
        input_kind: 'images' (N, 3, H, W) float32, normalised; or 'pixels' (N, H, W, 3) uint8, BGR.
        with_decode: the outputs are keypoints (N, K, 2) in crop pixels and scores (N, K) instead of heatmaps
            (N, K, h, w).
        flip_test: the file averages with the mirrored crop.
        batch_size: N; 0 for dynamic.
        opset: ONNX opset version.
        all_hypotheses: a MIPNet computes all people of a box in one call, with outputs (I * N, …), hypothesis by
            hypothesis; otherwise it computes one person, chosen by the input `codes` (N, 2).
    """

    file_format: str
    input_kind: str = 'images'
    with_decode: bool = False
    flip_test: bool = False
    batch_size: int = 0
    opset: int = 17
    all_hypotheses: bool = False

    def __post_init__(self):
        if self.batch_size < 0:
            raise PoseError(f'the batch size should be positive, or 0 for any, is {self.batch_size}')

    def __str__(self) -> str:
        parts = [self.file_format + (f' opset {self.opset}' if self.file_format == 'ONNX' else ''),
                 f'batch {self.batch_size or "of any size"}', f'{self.input_kind} -> {" and ".join(self.output_names)}']
        return ', '.join(parts + ['flip test inside'] * self.flip_test + ['all hypotheses'] * self.all_hypotheses)

    @property
    def output_names(self) -> Tuple[str, ...]:
        return ('keypoints', 'scores') if self.with_decode else ('heatmaps',)

    def takes_codes(self, config: EasyDict) -> bool:
        """Whether the file of a configuration has the input `codes`."""
        return num_hypotheses(config) > 1 and not self.all_hypotheses


def read_plan(arguments: argparse.Namespace) -> Tuple[ExportPlan, str]:
    """Return the plan from the flags of export.py, and the path of the file to write.

    Raises:
        PoseError: the flags contradict each other or are not possible.
    """
    by_ending = next((name for name, ending in FILE_FORMATS.items()
                      if arguments.file_name.lower().endswith(ending)), '')
    file_format = arguments.file_format or by_ending or 'MINDIR'
    if by_ending and (file_format != by_ending or not arguments.file_name.endswith(FILE_FORMATS[by_ending])):
        raise PoseError(f'--file_name {arguments.file_name} should end in {FILE_FORMATS[file_format]}, or have no '
                        f'ending, for --file_format {file_format}')
    batch_size = arguments.batch_size or ('dynamic' if file_format == 'ONNX' else '1')
    if batch_size != 'dynamic' and not (batch_size.isascii() and batch_size.isdigit() and int(batch_size)):
        raise PoseError(f'--batch_size should be a positive number or dynamic, is {batch_size!r}')
    if arguments.int8 and (file_format != 'ONNX' or not arguments.data_url):
        raise PoseError('--int8 makes ONNX files, calibrated on pictures: --file_format ONNX --data_url PICTURES '
                        '[--det_file_url BOXES]')
    if arguments.float16 and (file_format != 'ONNX' or arguments.int8):
        raise PoseError('--float16 is for ONNX files, and not together with --int8')
    if arguments.calibration_people < 1:
        raise PoseError(f'--calibration_people should be positive, is {arguments.calibration_people}')
    ending = FILE_FORMATS[file_format]
    path = arguments.file_name.removesuffix(ending) + ending
    if os.path.basename(path) == ending:
        raise PoseError(f'--file_name {arguments.file_name!r} should be the name of a file')
    return ExportPlan(file_format, arguments.input, with_decode=arguments.with_decode,
                      flip_test=arguments.flip_test, opset=arguments.opset,
                      batch_size=0 if batch_size == 'dynamic' else int(batch_size),
                      all_hypotheses=arguments.hypotheses == 'all'), path


def check_air(plan: ExportPlan) -> None:
    """Raise PoseError if the plan asks for an AIR file that cannot be made here."""
    if plan.file_format != 'AIR':
        return
    if 'Ascend' not in available_targets():
        raise PoseError('AIR files are made by the Ascend back end of MindSpore only: run export.py --file_format AIR '
                        'on an Ascend server with CANN; elsewhere export ONNX and convert it there with atc')
    if not plan.batch_size:
        raise PoseError('an AIR file has a fixed batch size: --batch_size N')
