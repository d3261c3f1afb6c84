"""Train a pose network: python train.py [--recipe NAME] [--data_url COCO] [--resume auto] [--set KEY=VALUE …]."""
import src.system.with_mindspore  # noqa: F401, I001  first
import json

from src.checkpoints.ckpt import save_checkpoint
from src.data.loader import BatchPlan, TrainingBatches, iterate_batches
from src.models.registry import build_empty_network, network_name
from src.system.collectives import broadcast_parameters
from src.system.command_line import run_command, say
from src.system.device import join_processes
from src.training.arguments import choose, parse_arguments
from src.training.files import RunFiles, write_job_config
from src.training.loop import measure_speed, train
from src.training.people import load_evaluation, load_samples
from src.training.run import TrainingRun, people_checksum, resume_run
from src.training.schedules import learning_rates
from src.training.setup import build_started_network, build_train_step, choose_precision, choose_steps_ahead
from src.training.states import RunIdentity, RunStates
from src.training.stopping import StopRequest


def main() -> None:
    arguments = parse_arguments()
    recipe_name, config, overrides = choose(arguments)
    processes = join_processes(config.DEVICE.TARGET, config.DEVICE.ID)
    choose_precision(config, processes, is_explicit='TRAIN.AMP_LEVEL' in overrides)
    say(f'recipe: {recipe_name} ({network_name(config)}), device: {processes}, precision: {config.TRAIN.AMP_LEVEL}')
    files = RunFiles(config.TRAIN.CKPT_SAVE_PATH, arguments.metrics_path)
    if processes.is_first:
        files.check()

    samples = load_samples(config, overrides)
    plan = BatchPlan(len(samples), config.TRAIN.BATCH_SIZE * config.TRAIN.ACCUMULATE, config.TRAIN.END_EPOCH,
                     config.GENERAL.SEED, drop_remainder=config.TRAIN.DROP_REMAINDER, num_shards=processes.size,
                     shard=processes.rank)
    rates = learning_rates(config.TRAIN, steps_per_epoch=plan.steps_per_epoch, num_devices=processes.size)
    epochs = min(len(rates), config.TRAIN.MAX_STEPS or len(rates)) / plan.steps_per_epoch
    evaluation = load_evaluation(config, processes, overrides, epochs=epochs)

    network = build_started_network(config, overrides)
    if processes.is_first:
        write_job_config(config)
    if config.TRAIN.BEGIN_EPOCH == config.TRAIN.END_EPOCH:
        if processes.is_first:
            save_checkpoint(files.ckpt, network, config)
        say(f'no epoch to train; checkpoint of the start weights: {files.ckpt}')
        return
    first_step = config.TRAIN.BEGIN_EPOCH * plan.steps_per_epoch
    step = build_train_step(config, network, rates, processes, first_step=first_step)
    identity = RunIdentity(config, rates, plan.joint_batch_size, plan.steps_per_epoch, people_checksum(samples.people))
    states = RunStates(files.states, identity, keep=config.TRAIN.KEEP_STATES)
    progress = resume_run(arguments.resume, files, states, step.state(network), processes, say, first_step=first_step)
    broadcast_parameters(step.state(network), processes)
    if len(rates) <= config.TRAIN.WARMUP_STEPS:
        say(f'note: all {len(rates)} steps are warm-up of the learning rate (TRAIN.WARMUP_STEPS)')
    say(f'{config.TRAIN.END_EPOCH} epochs of {plan.steps_per_epoch} steps; the first step compiles the graph')
    with StopRequest() as stop, files.open_log(config, plan, progress, processes) as log:
        batches = iterate_batches(TrainingBatches(samples, plan, progress.step), say=say, on_death=stop.fail,
                                  num_workers=config.TRAIN.NUM_PARALLEL_WORKERS)
        run = TrainingRun(config=config, processes=processes, files=files, states=states, log=log, network=network,
                          step=step, progress=progress, evaluation=evaluation, steps_per_epoch=plan.steps_per_epoch,
                          evaluation_network=build_empty_network(config) if evaluation else None, say=say)
        run.evaluate_if_due()
        times = [] if run.stopped_early else train(
            step, batches, plan=plan, rates=rates, progress=progress, log=log, stop=stop, hooks=run,
            max_steps=config.TRAIN.MAX_STEPS, steps_ahead=choose_steps_ahead(config, processes),
            max_skipped_steps=config.TRAIN.MAX_SKIPPED_STEPS, print_every=config.TRAIN.PRINT_STEP,
            describe_rows=samples.describe)
        run.finish()
    run.draw_curve()
    say('speed: ' + json.dumps({**measure_speed(times), 'devices': processes.size, 'device_target': processes.target,
                                'batch_size': config.TRAIN.BATCH_SIZE, 'recipe': recipe_name}))
    left = run.what_is_left(stop.is_set)
    say(f'checkpoint: {files.ckpt}{left}')
    if left:
        stop.raise_failure()


if __name__ == '__main__':
    run_command(main)
