"""The fleet registry: which workers there are, and which of them shall drain."""
