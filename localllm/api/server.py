"""The server on a socket: uvicorn around the application."""

import socket

import uvicorn

from localllm.api.app import create_app
from localllm.api.guard import is_loopback
from localllm.errors import ConfigError
from localllm.service import ChatService

BACKLOG = 256
DRAIN_SECONDS = 30


def bind(host: str, port: int, *, key: str) -> socket.socket:
    """A listening socket. Raises ConfigError when the address is taken, or open to others without a key."""
    if not is_loopback(host) and not key:
        raise ConfigError(
            f"{host} can be reached from other machines, so it needs an API key; "
            "set LOCALLLM_API_KEY, or bind 127.0.0.1"
        )
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror}; choose another --port") from error
    listener.listen(BACKLOG)
    listener.set_inheritable(False)
    return listener


def url_of(listener: socket.socket) -> str:
    """Base URL for OpenAI clients."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


async def serve(service: ChatService, listener: socket.socket, *, key: str, host: str) -> None:
    """Serve until SIGINT or SIGTERM; running answers then have DRAIN_SECONDS to end."""
    config = uvicorn.Config(
        create_app(service, key=key, host=host),
        http="httptools",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    await uvicorn.Server(config).serve(sockets=[listener])
