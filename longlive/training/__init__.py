"""Training of the causal generator: the paper's recipe, from a teacher to streaming long tuning.

Order of the stages: ``teacher`` (flow matching on clean clips), ``init`` (ODE initialisation of the causal
generator), ``dmd`` (distribution matching distillation on single clips), ``streaming`` (the same along long
sequences). README.md has a map of the modules.
"""
