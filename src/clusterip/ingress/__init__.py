"""Ingress: requests from outside, by host and path, to pods; HAProxy carries them."""
