"""Studies, each of which measures one question and writes one result."""
