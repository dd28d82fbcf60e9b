"""uvicorn's WebSocket protocol, which also takes whole frames: what goes to many browsers is framed once."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.protocol import State

from approvals.frames import FRAMES


class FramesProtocol(WebSocketsSansIOProtocol):
    """Adds the extension `agentsec.frames` to the scope of each connection.

    Its value takes a whole text frame as a server sends it (RFC 6455, 5.2: unmasked; no extension may be
    negotiated) and answers how many bytes wait for the browser.
    """

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        # The application runs from the next turn of the loop on, and finds it there.
        if hasattr(self, "scope") and not self.config.ws_per_message_deflate:
            extensions: Any = self.scope["extensions"]
            extensions[FRAMES] = self.write_frame

    def write_frame(self, frame: bytes) -> int:
        """A connection that is closing swallows it, as it would any message."""
        if self.close_sent or self.conn.state is not State.OPEN or self.transport.is_closing():
            return 0
        self.transport.write(frame)
        return self.transport.get_write_buffer_size()
