"""The picture-book world: drawing, captions, weather, oracle. It imports nothing of ours."""
