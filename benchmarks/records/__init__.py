"""Results on disk, and the tables, plots and pages made of them."""
