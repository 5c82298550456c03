"""Deploy runs: stacks and whose turn it is, what people see and decide, what to check when nobody knows."""
