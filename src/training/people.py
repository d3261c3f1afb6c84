"""The annotated people whom a training learns from."""
from typing import Iterable

from easydict import EasyDict

from ..config import input_shape
from ..data.annotation_checks import AnnotationFile
from ..data.images import exif_rule
from ..data.locate_pictures import describe_folders, locate_pictures
from ..data.photo_changes import build_photo_changes
from ..data.samples import PersonSamples
from ..datasets.annotation_files import find_annotation_file
from ..datasets.registry import configured_skeleton, dataset_of
from ..models.registry import model_of
from ..system.command_line import say


def load_samples(config: EasyDict, explicit_keys: Iterable[str]) -> PersonSamples:
    """Return the training samples of a resolved configuration, and say whose and from where.

    Args:
        explicit_keys: config keys that the user has given, whose files are not looked for elsewhere.

    Raises:
        PoseError: the annotation file or pictures are missing or wrong; the message names them.
    """
    skeleton = configured_skeleton(config)
    gt_file = find_annotation_file(config, 'TRAIN', is_explicit='DATASET.TRAIN_JSON' in explicit_keys)
    crops = model_of(config).crops(config)
    people = dataset_of(config).people(AnnotationFile(gt_file, config.DATASET.CATEGORY), skeleton, crops.sample_rule,
                                       True)
    paths = locate_pictures(config.DATASET.ROOT, people.file_names, split_folder=config.DATASET.TRAIN_SET,
                            needed=people.image_index)
    say(f'data: {people.describe(gt_file)}', describe_folders(paths), *(f'note: {text}' for text in people.notes))
    return PersonSamples(people, paths, crops, skeleton, input_shape(config), config.GENERAL.SEED,
                         exif_rule(config.DATASET.EXIF), build_photo_changes(config))
