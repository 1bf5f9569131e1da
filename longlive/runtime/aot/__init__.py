"""The parts of a block compiled ahead of time, for processes that have no time to compile."""
