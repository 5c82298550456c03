"""The durable feed of run changes that the api follows."""
