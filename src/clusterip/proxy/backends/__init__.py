"""One module a proxy mode; a backend is compile, read, commit."""
