"""What a training run costs: FLOPs and memory, counted without running it."""
