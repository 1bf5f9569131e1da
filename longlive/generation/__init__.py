"""From a prompt to frames: sampling, the session that streams chunks, and its files."""
