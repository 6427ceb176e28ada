"""What an agent can do beside talking: its tools, and how they reach the world."""
