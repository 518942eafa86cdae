"""What the header of a picture's file states, read from bytes without a decoder."""
