"""Where runs are computed: threads, ZeroGPU, Ray."""
