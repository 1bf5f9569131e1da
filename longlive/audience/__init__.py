"""One video and many who watch it: links, proposals and votes, a public room, HLS and RTMP."""
