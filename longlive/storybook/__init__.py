"""The storybook: a procedural picture-book world, and the recipe of the embedded model that learns it."""
