"""Studies: each measures one choice and writes its own result."""
