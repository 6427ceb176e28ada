"""Decisions as functions and tables of values. Pure: no trio, no sockets, no clock."""
