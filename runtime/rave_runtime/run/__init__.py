"""One run over many photographs: planning, workers, memory, journal, log, report."""
