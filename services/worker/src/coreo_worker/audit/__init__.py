"""The audit engine: reads what the chosen rules need, each fact once, and judges it."""
