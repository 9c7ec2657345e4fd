"""Who completes objects: one module a controller; reconcile is a pure function."""
