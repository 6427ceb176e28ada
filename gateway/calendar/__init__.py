"""The owner's calendar: what tools do in it, and what it looks like on the wire."""
