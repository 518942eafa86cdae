"""From pixels to their light and back: tiles, the reduced picture, the division. Only numpy is needed."""
