"""The world of the third edition: scenes, their motion, their pictures and their captions.

Imports nothing else of the project.
"""
