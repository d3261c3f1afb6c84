"""The annotated people to train on, and those for the evaluations during training."""
from copy import deepcopy
from typing import Iterable, Optional

from easydict import EasyDict

from ..config import input_shape
from ..data.images import exif_rule
from ..data.keypoint_names import open_annotations
from ..data.locate_pictures import describe_folders, locate_pictures, other_split
from ..data.people import release_memory
from ..data.photo_changes import build_photo_changes
from ..data.samples import PersonSamples
from ..data.skeleton_files import describe_lines
from ..datasets.annotation_files import find_annotation_file, find_detection_file
from ..datasets.registry import configured_skeleton, dataset_of
from ..evaluation.evaluate import Evaluation
from ..models.registry import model_of
from ..system.command_line import say
from ..system.device import Processes
from ..system.errors import PoseError

# TRAIN.EVAL_EPOCHS if neither the user nor the recipe sets it.
USUAL_EVAL_EPOCHS = 10


def load_samples(config: EasyDict, explicit_keys: Iterable[str]) -> PersonSamples:
    """Return the training samples of a resolved configuration, and print where people and pictures come from.

    Args:
        explicit_keys: config keys that the user has set; their files are not looked for elsewhere.

    Raises:
        PoseError: the annotation file or pictures are missing or wrong; the message names them.
    """
    skeleton = configured_skeleton(config)
    say(*describe_lines(skeleton, half_bodies=config.DATASET.HALF_BODY_PROBABILITY > 0))
    gt_file = find_annotation_file(config, 'TRAIN', is_explicit='DATASET.TRAIN_JSON' in explicit_keys)
    crops = model_of(config).crops(config)
    annotations = open_annotations(gt_file, skeleton, config.DATASET.CATEGORY)
    people = dataset_of(config).people(annotations, skeleton, crops.sample_rule, True)
    del annotations
    # Give the memory of the annotations back to the system, so that loader processes do not inherit it.
    release_memory()
    paths = locate_pictures(config.DATASET.ROOT, people.file_names, split_folder=config.DATASET.TRAIN_SET,
                            needed=people.image_index)
    notes = [text for text in (*people.notes, other_split(paths, gt_file)) if text]
    say(f'data: {people.describe(gt_file)}', describe_folders(paths), *(f'note: {text}' for text in notes))
    samples = PersonSamples(people, paths, crops, skeleton, input_shape(config), config.GENERAL.SEED,
                            exif_rule(config.DATASET.EXIF), build_photo_changes(config))
    if not config.DATASET.PRECUT:
        return samples
    # Here, because of what it imports.
    from ..data.precut_writing import precut_samples
    return precut_samples(samples, config.DATASET.PRECUT, say)


def load_evaluation(config: EasyDict, processes: Processes, explicit_keys: Iterable[str], *, epochs: float
                    ) -> Optional[Evaluation]:
    """Return the evaluation during training, or None if there is none, and print what it is on.

    TRAIN.EVAL_EPOCHS of -1 becomes USUAL_EVAL_EPOCHS if the run is long enough and there is a usable evaluation set,
    else 0.

    Args:
        explicit_keys: see `load_samples`.
        epochs: number of epochs of the run.

    Raises:
        PoseError: the user asked for an evaluation that is not possible; the message names what is missing or wrong.
    """
    train = config.TRAIN
    if train.EVAL_EPOCHS > 0:
        evaluation = Evaluation(config, processes, explicit_keys)
    else:
        is_left_open, train.EVAL_EPOCHS = train.EVAL_EPOCHS < 0, 0
        evaluation = _usual_evaluation(config, processes, explicit_keys) if (
            is_left_open and epochs >= USUAL_EVAL_EPOCHS) else None
        if evaluation is None:
            return None
        train.EVAL_EPOCHS = USUAL_EVAL_EPOCHS
    say(f'evaluation every {train.EVAL_EPOCHS} epochs: {evaluation.gt_file}, boxes: {evaluation.box_report}',
        *evaluation.notes)
    return evaluation


def _usual_evaluation(config: EasyDict, processes: Processes, explicit_keys: Iterable[str]) -> Optional[Evaluation]:
    """Return the evaluation that is made if the user has not decided: on detected boxes if their file is in its usual
    place, else on the boxes of the annotation file; None if it is not possible."""
    own = deepcopy(config)
    try:
        find_detection_file(own, is_explicit='TEST.COCO_BBOX_FILE' in explicit_keys)
    except PoseError:
        own.TEST.USE_GT_BBOX = True
    try:
        return Evaluation(own, processes, explicit_keys)
    except (PoseError, OSError, ImportError) as error:
        say(f'note: no evaluation during the training: {error}')
        return None
