"""Load test of a running app: many viewers at once, through its API and in browsers."""
