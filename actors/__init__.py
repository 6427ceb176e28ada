"""One phone call: actors, policies and wires. Opens no socket, reads no environment."""
