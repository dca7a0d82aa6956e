"""Tasks learnt one after another: scenarios, trainer, tuning, baselines."""
