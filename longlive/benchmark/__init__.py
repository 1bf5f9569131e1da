"""Speed, FLOPs, kernels and memory, measured."""
