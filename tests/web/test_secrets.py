"""The secrets that open a run, its token and its page's session, are not logged."""

import itertools
import re
import time
from pathlib import Path

import httpx
import pytest
from gradio_client import Client

from tests.support.app_process import serve_in_process
from tests.support.hostile_requests import API

MEADOW, JUMP = "a red ball stands on a green meadow", "the red ball jumps on a green meadow"


@pytest.mark.slow
def test_neither_sessions_nor_tokens_nor_prompts_stand_in_the_log_of_a_run(tmp_path: Path) -> None:
    with serve_in_process(tmp_path / "log.txt") as served:
        first, second = (Client(served.url, verbose=False, download_files=False) for _ in range(2))
        job = first.submit(MEADOW, 7, [], api_name="/start")
        token = next(iter(job))[0]["token"]
        first.predict(JUMP, "soft", api_name="/prompt")
        resumed = second.submit(token, 0, api_name="/resume")
        list(itertools.islice(iter(resumed), 3))
        link = second.predict(True, api_name="/watch_along")["link"]
        httpx.get(f"{served.url}{link}/thumbnails?first=x")
        second.predict(api_name="/stop")
        secrets = [token, first.session_hash, second.session_hash, link.rpartition("/")[2]]
        secrets += [watch_hls(served.url.rstrip("/"))]
        httpx.get(f"{served.url}{API[1:]}/queue/data", params={"session_hash": "nobody-4711"})
        for client in (first, second):
            client.close()
    log = "".join(served.log)
    assert len(re.findall(r"run [0-9a-f]{8}: started, seed 7", log)) == 2, log
    assert not [one for one in [*secrets, MEADOW, JUMP, "nobody-4711", "Traceback"] if one in log], log


def watch_hls(url: str) -> str:
    """Play a little as the compatible player does; its session, which is part of the addresses."""
    client = Client(url, verbose=False, download_files=False)
    numbers = {one["api_name"]: one["id"] for one in client.config["dependencies"]}
    number = numbers["start_compatible"]
    body = {
        "data": [MEADOW, 7, [], None, None, None],
        "fn_index": number,
        "session_hash": client.session_hash,
    }
    httpx.post(f"{url}{API}/queue/join", json=body).raise_for_status()
    with httpx.stream("GET", f"{url}{API}/queue/data?session_hash={client.session_hash}") as events:
        lines = (line for line in events.iter_lines() if "playlist.m3u8" in line)
        found = re.search(rf"/stream/{client.session_hash}/[^/]+/[^/]+/", next(lines))
        assert found
        folder, parts, patience = f"{url}{API}{found.group()}", [], time.monotonic() + 20
        while not parts and time.monotonic() < patience:
            playlist = httpx.get(f"{folder}playlist.m3u8").text
            parts = [line for line in playlist.splitlines() if line.endswith(".ts")]
        video = httpx.get(folder + parts[0])
        assert video.status_code == 200 and video.headers["content-type"] == "video/MP2T"
    client.close()
    return client.session_hash
