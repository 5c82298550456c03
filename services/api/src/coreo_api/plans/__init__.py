"""Plans: what to audit, where and when."""
