"""The learning rate of every step of a run, as an array."""
import numpy as np


def learning_rates(train, *, steps_per_epoch: int, num_devices: int) -> np.ndarray:
    """Return the learning rate of every step, (END_EPOCH * steps_per_epoch,) float32.

    Args:
        train: the TRAIN section. SCHEDULE is one of
            step: LR, multiplied by LR_FACTOR at the start of each epoch of LR_STEP (Simple Baselines);
            linear: linearly to 0 after the warm-up (MSPN release);
            cosine: from LR to MIN_LR, one value per epoch (MSPN course port).
            During a warm-up of WARMUP_STEPS the factor of LR rises linearly from WARMUP_FACTOR to 1. The warm-up is not
            shortened for short runs.
        num_devices: multiplies LR if LR_TIMES_DEVICES is set.
    """
    num_steps = train.END_EPOCH * steps_per_epoch
    step = np.arange(num_steps)
    epoch = step // steps_per_epoch
    if train.SCHEDULE == 'step':
        factor = train.LR_FACTOR ** np.sum([epoch >= first for first in train.LR_STEP], axis=0, dtype=np.float64)
    elif train.SCHEDULE == 'linear':
        factor = 1 - (step - train.WARMUP_STEPS) / max(1, num_steps - train.WARMUP_STEPS)
    elif train.SCHEDULE == 'cosine':
        low = train.MIN_LR / train.LR
        factor = low + (1 - low) * (1 + np.cos(np.pi * epoch / train.END_EPOCH)) / 2
    else:
        raise ValueError(f'the schedule {train.SCHEDULE} is in CHOICES of the configuration and not here')
    if train.WARMUP_STEPS:
        warm = train.WARMUP_FACTOR + (1 - train.WARMUP_FACTOR) * step / train.WARMUP_STEPS
        factor = np.where(step < train.WARMUP_STEPS, warm, factor)
    return (train.LR * (num_devices if train.LR_TIMES_DEVICES else 1) * factor).astype(np.float32)
