"""How a model runs here: options, memory plan, attention, compilation, CUDA graphs, quantization."""
