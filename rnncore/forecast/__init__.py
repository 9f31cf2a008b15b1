"""The subject: what is measured. Series, windows, models, training, scoring and baselines."""
