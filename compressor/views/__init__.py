"""Rich screen and progress, number formats, pages, SVG figures (templates *.j2 move here)."""
