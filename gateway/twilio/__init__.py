"""The phone's side of a call: webhooks, streams, and the REST interface."""
