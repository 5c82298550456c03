"""AWS for the worker: the only package of it that touches the SDK."""
