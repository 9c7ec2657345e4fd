"""How objects are followed: REST, reflector, informer, lister, work queue, leases, events."""
