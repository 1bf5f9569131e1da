"""Many viewers on a running app, as programs and in browsers."""
