"""Whether all that is stored opens, and is what the database says in clear that it is."""
