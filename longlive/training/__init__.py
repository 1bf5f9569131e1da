"""Training of the causal generator: the paper's recipe, from a teacher to streaming long tuning."""
