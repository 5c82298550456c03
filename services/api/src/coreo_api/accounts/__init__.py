"""Cloud accounts: whose AWS account Coreo may look into, and by which role."""
