"""The world around a call: configuration, front door, sockets, store, command line.

To embed the gateway, serve or mount `create_app(load(None, os.environ))`.
"""

from gateway.app import create_app
from gateway.config import Config, load

__all__ = ["Config", "create_app", "load"]
