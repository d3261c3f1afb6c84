"""Train a pose network: python train.py [--recipe NAME] [--data_url COCO] [--set KEY=VALUE …]."""
import argparse
import os

from src.annotations.coco import load_coco_people
from src.annotations.files import find_annotation_file
from src.batches import BatchPlan, TrainingBatches, iterate_batches
from src.checkpoints import load_start_weights, read_checkpoint, save_checkpoint
from src.command_line import run_command, say, warn_of_other_flavour
from src.config import DEFAULT_RECIPE, TRAIN_FLAGS, add_config_flags, input_shape, load_recipe, read_overrides, resolve
from src.device import set_up_device
from src.files import check_writable
from src.losses import build_loss
from src.networks import build_configured_network, build_normaliser, network_name
from src.samples.augmentation import build_crop_recipe
from src.samples.dataset import PersonSamples
from src.samples.pictures_on_disk import locate_pictures
from src.schedules import learning_rates
from src.skeletons import get_skeleton
from src.targets import build_targets
from src.training import LossGraph, TorchAdam, TrainStep, train


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    add_config_flags(parser, TRAIN_FLAGS, default_recipe=DEFAULT_RECIPE)
    parser.add_argument('--metrics_path', help='JSON-lines file of every step (default: beside the checkpoint)')
    return parser.parse_args()


def load_samples(config, overrides) -> PersonSamples:
    skeleton = get_skeleton(config.DATASET.SKELETON)
    if skeleton.num_keypoints != config.MODEL.NUM_JOINTS:
        raise ValueError(f'keypoint_num is {config.MODEL.NUM_JOINTS}, but the {skeleton.name} layout has '
                         f'{skeleton.num_keypoints} keypoints')
    gt_file = find_annotation_file(config, 'TRAIN', is_explicit='DATASET.TRAIN_JSON' in overrides)
    crops = build_crop_recipe(config)
    people = load_coco_people(gt_file, skeleton, sample_rule=crops.sample_rule)
    say(f'data: {len(people)} people of {gt_file}')
    paths = locate_pictures(config.DATASET.ROOT, people.file_names, split_folder=config.DATASET.TRAIN_SET)
    return PersonSamples(people, paths, crops, skeleton, input_shape(config), config.GENERAL.SEED)


def start_network(config, network, *, is_explicit: bool) -> None:
    path = config.MODEL.PRETRAINED
    if not config.MODEL.INIT_WEIGHTS or not path:
        hint = ' (the published results start from ImageNet weights)' if config.MODEL.INIT_WEIGHTS else ''
        say(f'start: random weights{hint}')
        return
    if not is_explicit and not os.path.isfile(path):
        say(f'start: random weights, since {path} is not there (choose another with --pretrained_path)')
        return
    weights, carried = read_checkpoint(path)
    warn_of_other_flavour(config, carried, path)
    loaded = load_start_weights(network, weights, path)
    say(f'start: {loaded} of {len(network.parameters_dict())} parameters from {path}')


def main() -> None:
    arguments = parse_arguments()
    recipe_name = arguments.recipe or DEFAULT_RECIPE
    recipe = load_recipe(recipe_name)
    overrides = read_overrides(arguments, TRAIN_FLAGS, recipe)
    if overrides.get('MODEL.PRETRAINED'):
        # Whoever names a file wants it, also with a recipe that starts from random weights.
        overrides.setdefault('MODEL.INIT_WEIGHTS', 'true')
    config = resolve(recipe, overrides)
    target = set_up_device(config.DEVICE.TARGET, config.DEVICE.ID)
    say(f'recipe: {recipe_name} ({network_name(config)}), device: {target}')
    ckpt_path = config.TRAIN.CKPT_SAVE_PATH
    metrics_path = arguments.metrics_path or os.path.splitext(ckpt_path)[0] + '_metrics.jsonl'
    check_writable(ckpt_path)
    if not ckpt_path.endswith('.ckpt'):
        raise ValueError(f'ckpt_save_path {ckpt_path} should end in .ckpt')
    check_writable(metrics_path)

    samples = load_samples(config, overrides)
    plan = BatchPlan(len(samples), config.TRAIN.BATCH_SIZE, config.TRAIN.END_EPOCH, config.GENERAL.SEED,
                     drop_remainder=config.TRAIN.DROP_REMAINDER)
    first_step = config.TRAIN.BEGIN_EPOCH * plan.steps_per_epoch
    rates = learning_rates(config.TRAIN, steps_per_epoch=plan.steps_per_epoch)

    network = build_configured_network(config)
    start_network(config, network, is_explicit='MODEL.PRETRAINED' in overrides)
    if config.TRAIN.BEGIN_EPOCH == config.TRAIN.END_EPOCH:
        save_checkpoint(ckpt_path, network, config)
        say(f'no epoch to train; checkpoint of the start weights: {ckpt_path}')
        return
    graph = LossGraph(build_normaliser(config), network, build_targets(config), build_loss(config))
    optimizer = TorchAdam(network.trainable_params(), rates, weight_decay=config.TRAIN.WEIGHT_DECAY,
                          first_step=first_step)
    if len(rates) <= config.TRAIN.WARMUP_STEPS:
        say(f'note: all {len(rates)} steps are warm-up of the learning rate (TRAIN.WARMUP_STEPS)')
    say(f'{config.TRAIN.END_EPOCH} epochs of {plan.steps_per_epoch} steps; the first step compiles the graph')
    train(TrainStep(graph, optimizer),
          iterate_batches(TrainingBatches(samples, plan, first_step), num_workers=config.TRAIN.NUM_PARALLEL_WORKERS),
          rates=rates, steps_per_epoch=plan.steps_per_epoch, first_step=first_step,
          metrics_path=metrics_path,
          on_epoch_end=lambda: save_checkpoint(ckpt_path, network, config), describe_rows=samples.describe)
    say(f'checkpoint: {ckpt_path}')


if __name__ == '__main__':
    run_command(main)
