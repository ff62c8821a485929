"""The embedded demo's encoder: a ViT-S/14 and MiniLM out of Python wheels, aligned in one space."""
