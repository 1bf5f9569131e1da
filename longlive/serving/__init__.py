"""Many viewers on one engine: scheduling, runs, events, what is kept on disk, metrics."""
