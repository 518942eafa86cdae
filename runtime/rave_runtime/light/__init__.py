"""Estimates a photograph's light and divides by it: tiles, reduced picture, division. Needs numpy, Pillow."""
