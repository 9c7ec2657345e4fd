"""Addresses for Services of type LoadBalancer, by MetalLB's API."""
