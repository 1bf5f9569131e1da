"""A TCP relay in a thread, which can break the connection between a browser and the app."""

import contextlib
import socket
import threading
import time
from urllib.parse import urlsplit


class TcpRelay:
    """Relays to the server at ``url``; ``self.url`` is its own address."""

    def __init__(self, url: str) -> None:
        server = urlsplit(url)
        self._server = server.hostname, server.port
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/"
        self._is_connected = True
        self.delay_s = 0.0  # by which everything comes later, in each direction
        threading.Thread(target=self._accept, daemon=True).start()

    def disconnect(self) -> None:
        """Break every connection, and refuse new ones."""
        self._is_connected = False
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            self._break(*pair)

    def connect(self) -> None:
        """Relay new connections again."""
        self._is_connected = True

    def close(self) -> None:
        """Disconnect, and stop listening."""
        self.disconnect()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._is_connected:
                    near.close()
                    continue
                far = socket.create_connection(self._server)
                self._pairs.append((near, far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(self.delay_s)
                target.sendall(data)
        self._break(source, target)

    @staticmethod
    def _break(*ends: socket.socket) -> None:
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
