"""The rival of `bench/live.py`: the `websockets` library alone, and its broadcast to whoever is connected.

Prints {"port": n}; then, for each line of its standard input (a JSON string), broadcasts that text and prints
{"began": monotonic seconds} of the moment before.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from websockets.asyncio.server import ServerConnection, broadcast, serve


async def run() -> None:
    connected: set[ServerConnection] = set()

    async def listen(connection: ServerConnection) -> None:
        connected.add(connection)
        await connection.wait_closed()
        connected.discard(connection)

    async with serve(listen, "127.0.0.1", 0, compression=None, backlog=1024) as server:
        print(json.dumps({"port": next(iter(server.sockets)).getsockname()[1]}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            text = json.loads(line)
            began = time.monotonic()
            broadcast(connected, text)
            print(json.dumps({"began": began}), flush=True)


if __name__ == "__main__":
    asyncio.run(run())
