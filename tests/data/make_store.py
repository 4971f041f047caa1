"""A local server with S3's protocol (moto's), and an empty bucket on it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator


def make_server() -> Iterator[str]:
    """The server's address, while it runs; a generator, as fixtures are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from moto.server import ThreadedMotoServer

        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


def make_store(server: str, monkeypatch, bucket: str):
    """s3fs's file system on the server, with one empty bucket; the environment names it for this test."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    store = s3fs.S3FileSystem()
    if store.exists(bucket):
        store.rm(bucket, recursive=True)
    store.mkdir(bucket)
    return store
