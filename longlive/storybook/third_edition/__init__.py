"""The third edition of the storybook model, in training: 256x160 pictures of a richer world."""
