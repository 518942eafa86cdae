"""Measurements of one choice each, with a result of their own."""
