"""Bytes to values and back, for every peer. Pure: no trio, no sockets, no clock."""
