"""The world around a call: configuration, front door, sockets, REST clients, store, command line."""
