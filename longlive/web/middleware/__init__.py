"""ASGI middleware in front of Gradio."""
