"""What people decide about findings: suppressions, severities of their own, the log. The results service keeps them."""
