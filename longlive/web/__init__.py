"""The page, its player and its endpoints; with ``app.py`` the only place that knows Gradio."""
