"""From pixels to their light and back: tiles, the reduced picture, the division. Needs numpy and Pillow."""
