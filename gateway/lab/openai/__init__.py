"""Stands in for OpenAI: the rehearsal model, as strict as the real one."""
