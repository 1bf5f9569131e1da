"""The page, its player and its endpoints. Only this package and ``app.py`` import Gradio."""
