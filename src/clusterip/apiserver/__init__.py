"""How objects are served: verbs, watch, patch, discovery, tables, authentication, streams."""
