"""The theme of the page: colours for light and dark mode, and system fonts only."""

from typing import Any

import gradio as gr

_INK = gr.themes.Color(
    c50="#fbf7ee", c100="#f5eddd", c200="#e8dcc4", c300="#d3c4a8", c400="#a89a83", c500="#7d7163",
    c600="#5e554a",   c700="#3a3b4d", c800="#232531", c900="#1b1d27", c950="#14151d",
)  # fmt: skip
_SEA = gr.themes.Color(
    c50="#eaf5f2", c100="#cfe8e2", c200="#a5d3ca", c300="#79bdb1", c400="#52a396", c500="#2f857a",
    c600="#226b63",   c700="#1c564f", c800="#17443f", c900="#12342f", c950="#0b221f",
)  # fmt: skip


def make_theme() -> Any:
    """The Gradio theme, for ``launch``."""
    serif = ("Iowan Old Style", "Palatino Linotype", "Palatino", "Book Antiqua", "Georgia", "serif")
    theme = gr.themes.Base(
        primary_hue=_SEA,
        secondary_hue=_SEA,
        neutral_hue=_INK,
        radius_size=gr.themes.sizes.radius_lg,
        text_size=gr.themes.sizes.text_lg,
        font=serif,
        font_mono=("ui-monospace", "Consolas", "monospace"),
    )
    return theme.set(
        body_background_fill="#f6efe1",
        body_background_fill_dark="#14151d",
        body_text_color="#2d2822",
        body_text_color_dark="#efe7d8",
        body_text_color_subdued="#6f6455",
        body_text_color_subdued_dark="#b0a793",
        block_background_fill="#fffbf2",
        block_background_fill_dark="#1e202b",
        block_border_color="#e8dcc4",
        block_border_color_dark="#343748",
        block_label_text_color="#6f6455",
        block_title_text_color="#2d2822",
        block_title_text_color_dark="#efe7d8",
        input_background_fill="#ffffff",
        input_background_fill_dark="#171821",
        button_primary_background_fill="#226b63",
        button_primary_background_fill_hover="#1c564f",
        button_primary_text_color="#ffffff",
        button_primary_background_fill_dark="#297a70",
        button_primary_background_fill_hover_dark="#226b63",
        button_secondary_background_fill="#efe4cf",
        button_secondary_background_fill_hover="#e8dcc4",
        button_secondary_background_fill_dark="#2a2d3b",
        button_secondary_background_fill_hover_dark="#3a3b4d",
    )
