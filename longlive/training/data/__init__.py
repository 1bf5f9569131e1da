"""Prompts and clips to train on."""
