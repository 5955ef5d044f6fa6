"""From a plan to a trained model: the loop, its records, caches and checkpoints."""
