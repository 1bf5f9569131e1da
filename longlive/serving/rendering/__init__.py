"""What a worker does with a chunk's latents beside the model: segments, a report on the chunk, its times."""
