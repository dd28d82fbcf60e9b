"""`runs: sql`: one plain statement, read, planned, run under the role of its grant, and cut to its limits."""
