"""The world around a call: configuration, front door, sockets, store, command line.

To embed the gateway, serve or mount `create_app(load(None, os.environ))`. In a file of tools, put
`@tool` above what the model may call.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.app import create_app
    from gateway.configuration.config import Config, load
    from gateway.tools.tool_files import tool

__all__ = ["Config", "create_app", "load", "tool"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a function or a class.
    # Only when asked for: pytest loads our plugin in every project of an environment, and neither
    # time nor a measurement of coverage should be spent on a gateway that nobody asked for.
    if name == "create_app":
        from gateway.app import create_app  # noqa: PLC0415

        return create_app
    if name == "tool":
        from gateway.tools.tool_files import tool  # noqa: PLC0415

        return tool
    if name in __all__:
        from gateway.configuration import config  # noqa: PLC0415

        return getattr(config, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
