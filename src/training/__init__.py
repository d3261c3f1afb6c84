"""From a configuration to a checkpoint: step, loop, states, log."""
