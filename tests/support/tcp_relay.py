"""A network cable that can be pulled out: a TCP relay in a thread."""

import contextlib
import socket
import threading
from urllib.parse import urlsplit


class Cable:
    """Relays to the server of ``url``; unplugged, it breaks every connection and takes no new one."""

    def __init__(self, url: str) -> None:
        there = urlsplit(url)
        self._there = there.hostname, there.port
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/"
        self._is_plugged = True
        threading.Thread(target=self._accept, daemon=True).start()

    def unplug(self) -> None:
        """Break every connection, and accept none."""
        self._is_plugged = False
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            self._break(*pair)

    def plug(self) -> None:
        """Be a cable again."""
        self._is_plugged = True

    def close(self) -> None:
        """Be gone."""
        self.unplug()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._is_plugged:
                    near.close()
                    continue
                far = socket.create_connection(self._there)
                self._pairs.append((near, far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        self._break(source, target)

    @staticmethod
    def _break(*ends: socket.socket) -> None:
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
