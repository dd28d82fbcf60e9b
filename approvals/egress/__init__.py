"""The way out: what a sandboxed job or an HTTP call may reach, with secrets that it never sees."""
