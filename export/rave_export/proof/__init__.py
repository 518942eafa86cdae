"""Proves that a bundle's graphs compute what the network computes, and shows the figures in tables."""
