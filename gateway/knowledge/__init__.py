"""Documents that an agent can look things up in: read, cut into passages, and searched."""
