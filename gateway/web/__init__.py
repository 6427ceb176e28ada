"""Sockets of HTTP and of WebSockets, in both directions."""
