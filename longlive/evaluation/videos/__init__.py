"""Any video or session file: reading it in parts, and scores of its pixels that need no trained network."""
