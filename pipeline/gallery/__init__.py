"""A page to look at: photographs with their SISMs, maps and cut-outs as one HTML file with thumbnails beside it."""

from pipeline.gallery.embedded import EmbeddedThumbnails, embed_thumbnails
from pipeline.gallery.page import MAX_PICTURES, Gallery, Reject, count_pages_at_most, name_page, render_pages
from pipeline.gallery.sections import Picture, Section, read_sections, select_scores
from pipeline.gallery.thumbnails import FOLDER, GalleryError, draw_thumbnails, name_thumbnails

__all__ = [
    "FOLDER",
    "MAX_PICTURES",
    "EmbeddedThumbnails",
    "Gallery",
    "GalleryError",
    "Picture",
    "Reject",
    "Section",
    "count_pages_at_most",
    "draw_thumbnails",
    "embed_thumbnails",
    "name_page",
    "name_thumbnails",
    "read_sections",
    "render_pages",
    "select_scores",
]
