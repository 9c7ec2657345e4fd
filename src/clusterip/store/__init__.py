"""Where objects are kept: revisioned keys, range, watch, compaction."""
