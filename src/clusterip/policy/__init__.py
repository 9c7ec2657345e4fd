"""NetworkPolicy -> packets: who may speak with the pods of one node."""
