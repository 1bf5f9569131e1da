"""Voters of a load test: those who watch the room, propose prompts and vote, also while the app restarts."""
