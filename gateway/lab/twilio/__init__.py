"""Stands in for Twilio: the phone, its line, whoever is at the far end, and REST."""
