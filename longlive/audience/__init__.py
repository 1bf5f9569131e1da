"""One video and many who watch it: links to watch along, proposals and votes, a public room, and ways out of the page."""
