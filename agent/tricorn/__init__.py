"""Tricorn: a container runtime agent on Trio."""

__version__ = "0.1.0"
