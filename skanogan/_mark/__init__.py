"""``python -m skanogan mark``: from two folders of images to marked pictures."""
