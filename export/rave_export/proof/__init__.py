"""Proof that a bundle's graphs compute what the network computes, and the tables that show it."""
