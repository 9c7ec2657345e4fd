"""Service -> names: questions in, finished answers out."""
