"""Rows, labels, images and patches: from what the user passes to tensors."""
