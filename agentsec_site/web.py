"""One web process: uvicorn on a socket that is already listening.

    python -m agentsec_site.web DESCRIPTOR

The supervisor owns the listening socket, so that a port in use is found before anything slow, and a
restarted web process refuses no connection.
"""

from __future__ import annotations

import gc
import os
import socket
import sys

import uvicorn

from agentsec_site.wire import FramesProtocol


def config() -> uvicorn.Config:
    """Forwarded headers are believed only from the proxies that AGENTSEC_PROXIES names."""
    proxies = os.environ.get("AGENTSEC_PROXIES", "")
    os.environ.setdefault("AGENTSEC_POOL", "1")
    return uvicorn.Config(
        "agentsec_site.asgi:application",
        ws=FramesProtocol,
        ws_per_message_deflate=False,
        ws_max_size=1024 * 1024,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies or None,
        timeout_graceful_shutdown=2,
    )


def main(arguments: list[str]) -> None:
    gc.disable()  # while modules load, until `SiteConfig.ready`
    with socket.socket(fileno=int(arguments[0])) as listener:
        uvicorn.Server(config()).run(sockets=[listener])


if __name__ == "__main__":
    main(sys.argv[1:])
