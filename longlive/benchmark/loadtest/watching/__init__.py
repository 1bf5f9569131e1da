"""Watchers of a load test: those who follow the viewers' videos, beside the viewers."""
