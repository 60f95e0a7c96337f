"""Plain TCP in front of a TLS server, because kosoku speaks no TLS: `relay.py PORT CERTIFICATE`.

Prints the port it listens on, and relays each connection to PORT inside TLS, trusting CERTIFICATE alone. Bytes and ends are passed
on as they come; nothing is interpreted. Started by the suite as a program of its own; ends with its standard input.
"""

import asyncio
import ssl
import sys

PIECE = 64 * 1024


async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter):
    """Until the source ends; then the sink is ended, too."""
    try:
        while piece := await source.read(PIECE):
            sink.write(piece)
            await sink.drain()
    except (ConnectionError, ssl.SSLError):
        pass
    finally:
        sink.close()


async def main(port: int, certificate: str):
    trust = ssl.create_default_context(cafile=certificate)

    # Only a task that somebody holds is sure to live to its end.
    under_way = set()

    async def relay(reader, writer):
        task = asyncio.current_task()
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname="localhost")
        except OSError as error:
            print(f"the server cannot be reached: {error}", file=sys.stderr)
            writer.close()
            return
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
