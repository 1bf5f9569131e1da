"""The files in which weights come: their parts, their tensors, their names, LoRA files."""
