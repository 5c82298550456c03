"""What a customer's role for Coreo is, and ready-to-use texts that make it: one `Grant`, rendered in several ways."""
