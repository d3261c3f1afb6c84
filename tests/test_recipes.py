"""What the shipped recipes set, against tables of what was published: for every recipe, told by its name."""
import pytest

from src.config import load_recipe, recipe_names
from src.models.registry import heatmap_section
from src.training.schedules import learning_rates

# Those for minutes on a CPU are nobody's but ours.
PUBLISHED = [name for name in recipe_names() if '_small_' not in name]
# The constants of red, green and blue in the order of the network's input, and what Simple Baselines does instead.
MEANS, STDS = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
# What MMPose's trainings, which those with DARK and UDP follow, have in common: the limits of rotation and scale, by
# data set the probability of half bodies.
MMPOSE = ('dark', 'udp')
MMPOSE_AUGMENTATION = {'coco': (40, 0.5, 0.3), 'mpii': (40, 0.5, 0)}
JOINTS = {'coco': 17, 'ochuman': 17, 'crowdpose': 14, 'mpii': 16}
# Rotation factor, scale factor, probability of half bodies: by the network that makes the heatmaps and the data set.
AUGMENTATION = {('MSPN', 'mpii'): (60, 0.25, 0.5), ('MSPN', ''): (45, 0.25, 0.3), ('HRNET', 'mpii'): (30, 0.25, 0),
                ('HRNET', ''): (45, 0.35, 0.3), ('POSE_RESNET', 'mpii'): (30, 0.25, 0),
                ('POSE_RESNET', ''): (40, 0.3, 0), ('POSE_MOBILENET', 'mpii'): (40, 0.5, 0),
                ('POSE_MOBILENET', ''): (40, 0.5, 0.3)}
# Epochs, and the first epochs of the lower rates.
SCHEDULES = {'simplepose': (140, [90, 120]), 'hrnet': (210, [170, 200]), 'mipnet': (110, [70, 100]),
             'mipnet on crowdpose': (210, [170, 200]), 'mipnet_r101_crowdpose_384x288': (210, [90, 120]),
             'simplepose_mobilenetv2_coco_256x192': (210, [170, 200]),
             'simplepose_mobilenetv2_coco_384x288': (210, [170, 200]),
             'simplepose_mobilenetv2_mpii_256x256': (210, [170, 200])}


def assert_set(config, expected: dict) -> None:
    assert {key: config[key.split('.')[0]][key.split('.')[1]] for key in expected} == expected


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_settings_of_every_recipe(name):
    config = load_recipe(name)
    network, dataset, size = name.split('_')[0], *name.split('_')[-2:]
    body, is_mspn, is_course = heatmap_section(config), network == 'mspn', '_course_' in name
    encoding = next((rule for rule in MMPOSE if f'_{rule}_' in name), 'published')
    rotation, scale, half_body = AUGMENTATION.get((body, dataset)) or AUGMENTATION[body, '']
    if encoding in MMPOSE:
        rotation, scale, half_body = MMPOSE_AUGMENTATION[dataset]
    assert_set(config, {
        'MODEL.NUM_JOINTS': JOINTS[dataset], 'MODEL.STEM_CHANNELS': 64, 'MODEL.INIT_WEIGHTS': True,
        'MODEL.STEM_POOL': 'same' if is_course else 'symmetric', 'DATASET.NORMALISE_BEFORE_SCALING': is_course,
        'DATASET.MEANS': MEANS[::-1] if is_mspn else MEANS, 'DATASET.STDS': STDS[::-1] if is_mspn else STDS,
        'DATASET.COLOR_RGB': body in ('HRNET', 'POSE_MOBILENET') or encoding in MMPOSE,
        'DATASET.ROT_FACTOR': rotation, 'DATASET.ENCODING': encoding,
        'DATASET.SCALE_FACTOR': scale, 'DATASET.HALF_BODY_PROBABILITY': half_body, 'DATASET.FLIP': True,
        'DATASET.CUT_OFF_PROBABILITY': 0, 'DATASET.COVER_PROBABILITY': 0, 'DATASET.COLOR_JITTER': 0,
        'DATASET.ABSENT_AS_EMPTY': False,
        'DATASET.RANDOM_EXTENSION': is_mspn and dataset != 'mpii'})
    if is_mspn:
        assert_set(config, {'MSPN.PLANES': [64, 128, 256, 512], 'MSPN.BLOCKS': [3, 4, 6, 3],
                            'MSPN.UPSAMPLE_CHANNEL_NUM': 256, 'MSPN.HEAD_SCALE': 1, 'LOSS.OHKM': True, 'LOSS.TOPK': 8,
                            'LOSS.COARSE_TO_FINE': True})
    else:
        assert_set(config, {f'{body}.SIGMA': 3 if size in ('384x288', '384x384') else 2, 'LOSS.USE_TARGET_WEIGHT': True,
                            'HRNET.MODULES': [1, 4, 3], 'HRNET.BLOCKS': 4})
    # MSPN suppresses nobody. On CrowdPose a toolbox does, whose recipe of Simple Baselines is meant there.
    suppresses = not is_mspn and (dataset in ('coco', 'ochuman') or (network, dataset) == ('simplepose', 'crowdpose'))
    assert_set(config, {
        'TEST.FLIP_TEST': True, 'TEST.SHIFT_HEATMAP': encoding != 'udp', 'TEST.DECODER': encoding,
        # MMPose keeps the kernel of the smaller input, but for one file.
        'TEST.DECODER_KERNEL': 17 if name == 'simplepose_r152_dark_coco_384x288' else 11,
        'TEST.POST_PROCESS': True, 'TEST.MULTI_SHIFT': 0,
        'TEST.IN_VIS_THRE': 0.2, 'TEST.OKS_THRE': 0.9, 'TEST.IMAGE_THRE': 0, 'TEST.SOFT_NMS': False,
        'TEST.OKS_NMS': suppresses, 'TEST.USE_GT_BBOX': dataset != 'coco', 'TEST.CROWDPOSE_RULE': 'official',
        'TEST.BLUR_KERNEL': 9 if is_mspn and dataset == 'mpii' else 5, 'MIPNET.DECAY_THRE': 0.5})


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_training_of_every_recipe(name):
    config, network, is_mmpose = load_recipe(name), name.split('_')[0], any(f'_{rule}_' in name for rule in MMPOSE)
    is_release = network == 'mspn' and '_course_' not in name
    assert_set(config, {'TRAIN.WEIGHT_DECAY': 1e-5 if is_release else 0, 'TRAIN.LR_TIMES_DEVICES': is_release,
                        'TRAIN.CLIP_NORM': 0, 'TRAIN.EMA_DECAY': 0, 'TRAIN.SYNC_BN': False, 'TRAIN.ACCUMULATE': 1})
    rates = learning_rates(config.TRAIN, steps_per_epoch=100, num_devices=8)
    if is_release:
        assert_set(config, {'TRAIN.END_EPOCH': 331 if '_mpii_' in name else 164, 'TRAIN.BATCH_SIZE': 32})
        # 5e-4 for each of eight devices, from a tenth of it on.
        assert (rates[0], rates[2400], rates.max()) == pytest.approx((4e-4, 4e-3, 4e-3))
    elif network == 'mspn':
        assert_set(config, {'TRAIN.END_EPOCH': 5, 'TRAIN.BATCH_SIZE': 62, 'TRAIN.SCHEDULE': 'cosine'})
        assert rates[0] == rates.max() == pytest.approx(5e-4)
    else:
        keys = ('hrnet',) if is_mmpose else (name, f'{network} on {name.split("_")[-2]}', network)
        epochs, drops = next(SCHEDULES[key] for key in keys if key in SCHEDULES)
        assert len(rates) == 100 * epochs
        # MMPose starts at half of the rate, in 500 steps from a thousandth of it.
        is_mmpose |= 'mobilenet' in name
        start, highest = (5, 5e-4) if is_mmpose else (0, 1e-3)
        assert not is_mmpose or rates[0] == pytest.approx(5e-7)
        for number, first in enumerate((start, *drops)):
            assert rates[100 * first] == pytest.approx(highest / 10 ** number)
            assert number == 0 or rates[100 * first - 1] == pytest.approx(highest / 10 ** (number - 1))
