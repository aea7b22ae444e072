"""How the page looks: one quiet theme with the system's own fonts, and a few lines of CSS."""

from __future__ import annotations

import html

import gradio as gr

__all__ = ["CSS", "message", "theme"]

# Neither is fetched from anywhere: the browser takes the first that the computer has.
_FONT = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans", "sans-serif"]
_MONOSPACE = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def theme() -> gr.themes.Base:
    """Light and dark as the computer is; one colour, for what can be done next."""
    return gr.themes.Base(
        primary_hue="indigo",
        neutral_hue="slate",
        radius_size="lg",
        spacing_size="md",
        font=_FONT,
        font_mono=_MONOSPACE,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_border_width="0px",
        block_shadow="none",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0px",
        block_label_text_color="*neutral_600",
        block_title_text_color="*neutral_700",
        block_title_text_weight="500",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_text_color="white",
    )


CSS = """
.gradio-container { max-width: 1180px !important; margin: 0 auto; }
#heading h1 { font-size: 1.35rem; margin: 0.2rem 0 0; letter-spacing: -0.01em; }
#heading p, .help p { color: var(--neutral-600); margin: 0; font-size: 0.9rem; line-height: 1.4; }
.dark #heading p, .dark .help p { color: var(--neutral-400); }
.choices { background: var(--block-background-fill); border-radius: 14px; padding: 16px; gap: 14px; }
.choices .block, .choices .form, .choices .row {
  background: transparent; border-width: 0 !important; box-shadow: none; }
.choices .block { padding: 0 1px !important; overflow: visible !important; }
.choices .row { align-items: center; }
.choices .form { gap: 14px; overflow: visible; }
.choices input, .choices textarea, .choices .wrap-inner { border: 1px solid var(--border-color-primary); }
.choices .wrap-inner input, .choices input[type=range] { border-width: 0; }
.choices .help { margin-top: -4px; }
.choices .row { margin: -6px 0; gap: 10px; }
#face-number { max-width: 84px; }
.choices button.primary { font-size: 1.05rem; }
#picture, #slider { padding: 0; }
.message, .message .html-container { min-height: 1.4rem; padding: 0; }
.message p { margin: 0; font-size: 0.95rem; }
.message .wrong { color: #b42318; font-weight: 500; }
.dark .message .wrong { color: #fda29b; }
.row-label p { margin: 0 0 -8px; font-size: 0.85rem; color: var(--neutral-600); }
.dark .row-label p { color: var(--neutral-400); }
.thumbnails { background: transparent; padding: 0 !important; }
.thumbnails .grid-wrap, .thumbnails .gallery-container {
  min-height: 0 !important; height: auto !important; padding: 0; }
.thumbnails .grid-container { padding: 2px; }
.sliders { max-height: 460px; overflow-y: auto; }
button:focus-visible, [role=tab]:focus-visible { outline: 2px solid var(--primary-500); outline-offset: 2px; }
"""


def message(text: str, wrong: bool = False) -> str:
    """One line for the place of messages, read out by screen readers; ``wrong`` says that something failed."""
    kind, role = ("wrong", "alert") if wrong else ("plain", "status")
    return f'<p class="{kind}" role="{role}">{html.escape(text)}</p>'
