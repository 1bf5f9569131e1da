"""What the model remembers: the chunks that the one on the screen was made from, and how the video fares."""

from longlive.web.panels.panel import PageContext, PanelView


def add(context: PageContext) -> None:
    """Add the panel; its data comes with the segments, and from ``/thumbnails`` after a reload."""
    PanelView(
        "panels/memory.html",
        ["routes.js", "panels/chunk_reports.js", "panels/memory.js"],
        label="memory",
        elem_id="memory",
    )
