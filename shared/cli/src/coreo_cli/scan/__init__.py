"""`coreo scan`: the engine on this machine, with the user's own credentials and without the service."""
