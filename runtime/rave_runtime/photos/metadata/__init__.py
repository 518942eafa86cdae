"""What a photograph's file says beside its pixels."""
