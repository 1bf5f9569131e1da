"""The paper's training, whole: clients of ``longlive.denoise``, never a second sampling loop."""
