"""The rule catalogue, for people who choose."""
