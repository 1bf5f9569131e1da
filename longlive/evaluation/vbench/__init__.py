"""VBench, run in a Python environment of its own on a folder of videos, and its published aggregation."""
