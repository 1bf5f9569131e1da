"""The page, its player and its endpoints. Only this package and ``app.py`` import Gradio."""

from longlive.network import direct_connections


def _import_gradio() -> None:
    """Import Gradio, which opens an HTTP client meanwhile, also where httpx cannot use the proxy."""
    with direct_connections():
        import gradio  # noqa: F401


_import_gradio()
