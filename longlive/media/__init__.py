"""Frames in and out of files: H.264 segments, MP4, GIF."""
