"""Measures pictures against true ones, and names the words nearest to a guidance direction."""
