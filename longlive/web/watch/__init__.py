"""Watching along: the page behind a link, and the stream that all who watch one run share."""
