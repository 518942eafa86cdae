"""Measuring pictures against true ones, and naming what a guidance direction means."""
