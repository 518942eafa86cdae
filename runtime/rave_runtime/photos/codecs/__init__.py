"""Codecs of formats that Pillow does not know, each behind an extra, and the gain maps of HDR pictures."""
