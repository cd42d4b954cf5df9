"""Pictures for people: contact sheets, panels and overlays."""

from pipeline.pictures.sheet import FAINT, GAP, INK, LINE, PAPER, draw_overlay, draw_sheet

__all__ = ["FAINT", "GAP", "INK", "LINE", "PAPER", "draw_overlay", "draw_sheet"]
