"""One viewer's video: its prompts, its events, its files, and whether its viewer is there."""
