"""LongLive: type a prompt, watch the video, change it while it plays."""
