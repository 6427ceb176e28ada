"""Servers of tools that speak MCP: asked by us, or by the model's own server with our leave."""
