"""The web console: a page that is one more client of the public API, and has no right of its own.

It is static. Who uses it pastes a team token, which their browser sends as `Authorization: Bearer`, as any client does:
there is no cookie, so no other site can act with it, and no route of the server is for the console alone.
"""
