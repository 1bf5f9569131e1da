"""The tabs below the timeline, each in a module of its own, with its template, script and style beside it."""
