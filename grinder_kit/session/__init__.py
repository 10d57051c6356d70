"""A session in a process of its own: the runner, its guard and supervisor, its local API, and the client that steers it."""
