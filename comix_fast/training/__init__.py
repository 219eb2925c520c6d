"""Training a backbone and a head together, from frames: the other road to the step of comix_fast.stages.stack."""
