"""Takes jobs off the queue and sees each run through, in a process of its own that has the session's credentials."""
