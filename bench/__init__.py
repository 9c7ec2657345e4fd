"""Figures, measured on a whole cluster; never timed tests. `make bench [ONLY=name]`."""
