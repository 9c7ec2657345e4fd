"""The whole Kubernetes Service system as one package."""

__version__ = "0.1.0"
