"""Pictures for people: contact sheets and maps drawn over their images."""

from pipeline.pictures.sheet import EDGE_COLOR, draw_overlay, draw_sheet

__all__ = ["EDGE_COLOR", "draw_overlay", "draw_sheet"]
