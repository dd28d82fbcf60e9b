"""Text messages as they go over a WebSocket, framed once for many browsers. Needs no Django."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from websockets.frames import Frame, Opcode

FRAMES = "agentsec.frames"  # the extension of a connection's scope whose value is a `Write`
# Takes whole frames and answers how many bytes wait for the browser.
Write = Callable[[bytes], int]


def framed(texts: Iterable[str]) -> bytes:
    """As a server sends them (RFC 6455, 5.2): unmasked and uncompressed, so all sockets get the same."""
    frames = (Frame(Opcode.TEXT, text.encode()) for text in texts)
    return b"".join(frame.serialize(mask=False, extensions=[]) for frame in frames)
