"""Reads a scene's seven attributes off pictures of 256x160, without a trained network."""
