"""Writes results, and makes tables, plots and pages of them."""
