"""The server on a socket: uvicorn around the application."""

import socket

import uvicorn

from localllm.api.app import create_app
from localllm.api.clients import Clients
from localllm.api.guard import is_loopback
from localllm.errors import ConfigError
from localllm.service import ChatService

BACKLOG = 256
DRAIN_SECONDS = 30


def bind(host: str, port: int, clients: Clients) -> socket.socket:
    """A listening socket. Raises ConfigError when the address is taken, or open to others without a key."""
    if not is_loopback(host) and not clients.have_keys:
        raise ConfigError(
            f"{host} can be reached from other machines, so it needs an API key; "
            "set LOCALLLM_API_KEY, or bind 127.0.0.1"
        )
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror}; choose another --port") from error


def url_of(listener: socket.socket) -> str:
    """Base URL for OpenAI clients."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


def make_server(service: ChatService, *, clients: Clients, host: str) -> uvicorn.Server:
    """A server, to be run by `.serve(sockets=[listener])` until SIGINT, SIGTERM or `.should_exit`.

    Answers that run then have DRAIN_SECONDS to end.
    """
    config = uvicorn.Config(
        create_app(service, clients=clients, host=host),
        http="httptools",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    return uvicorn.Server(config)
