"""Wire contracts between the services: frozen, versioned, and free of any SDK, web or database library."""
