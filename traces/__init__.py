"""What happened: the append-only log, its proofs, its search and its live stream."""
