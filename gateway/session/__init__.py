"""The model's side of a call: connections, and what outlives them."""
