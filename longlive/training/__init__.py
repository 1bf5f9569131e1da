"""Training of the causal generator: the paper's recipe, from a teacher to streaming long tuning.

prompts.py ─▶ streaming.py: which latents come next, under which prompt, when it switches
                  │
                  ▼
              rollout.py: chunks through denoise.py with a ListCache, gradients at one exit step ─▶ a clip
                                                                                                     │
              trainer.py ◀─ learner.py ◀─ dmd.py: losses of generator and critic ◀─ scores.py ◀──────┘
              steps, saves, logs          teacher (guided) and critic see the noised clip

Before that, flow.py trains a teacher on clean clips, and initialise.py a causal student on the teacher's ODE.
options.py has the numbers and one name for each defect of the released code; released_cache.py restores the
faults of its cache. recipe.py and setup.py make a stage of a file; teaching.py and distillation.py have the
stages.
"""
