"""What the process that sends is told."""

import os

from longlive.audience.rtmp_process import pack_chunk, read_chunks


def test_chunks_come_out_as_they_went_in_and_the_end_of_the_pipe_is_the_end() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as source, os.fdopen(writing, "wb", buffering=0) as to:
        chunks = read_chunks(source, tick_s=0.01)
        assert next(chunks) is None, "nothing came yet"
        packed = pack_chunk({"fps": 16}, b"\0" * 30_000)
        to.write(pack_chunk({"url": "rtmp://host/app/key"}) + packed[:20_000])
        assert next(chunks) == ({"url": "rtmp://host/app/key"}, b"")
        to.write(packed[20_000:])
        assert next(chunks) == ({"fps": 16}, b"\0" * 30_000)
        to.close()
        assert list(chunks) == []
