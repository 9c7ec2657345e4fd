"""Load-balancer addresses made known outside the cluster, by MetalLB's API."""
