"""The paper's tables at storybook scale: switch strategies, windows, LoRA ranks and drift, measured."""
