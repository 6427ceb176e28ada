"""Whole gateways in virtual time, from a seed."""
