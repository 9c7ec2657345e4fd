"""The only door to Linux: one module per facility."""
