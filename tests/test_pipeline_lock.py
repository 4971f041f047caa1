"""The lock of a run's folder: an owner who is dead, and drives that know no lock."""

from __future__ import annotations

import json
import os
import socket
import threading
import time

import pytest

from leukoscope.errors import InputError
from leukoscope.pipeline.lock import RunLock


def test_a_lock_whose_owner_is_dead_is_taken_over_whatever_the_clocks_say(tmp_path, monkeypatch):
    monkeypatch.setattr("leukoscope.pipeline.lock.STALE_S", 0.4)
    lock = tmp_path / "lock"
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": 2**30}))
    with RunLock(tmp_path):
        assert json.loads(lock.read_text()) == {"host": socket.gethostname(), "pid": os.getpid()}
    assert not lock.exists()
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    for years in (-1, 0, 1):  # ago, by the clock of its computer
        moment = time.time() + years * 3e7
        alive = threading.Event()

        def beat(alive=alive, moment=moment):
            while not alive.wait(0.05):
                moment += 0.05
                os.utime(lock, (moment, moment))

        thread = threading.Thread(target=beat)
        thread.start()
        with pytest.raises(InputError, match="process 1 on elsewhere"), RunLock(tmp_path):
            pass
        alive.set()
        thread.join()
    for years in (-1, 0, 1):
        lock.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
        os.utime(lock, (time.time() + years * 3e7,) * 2)
        with RunLock(tmp_path):
            pass
    lock.write_text("torn")
    with RunLock(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_lock_where_the_drive_knows_none(tmp_path, monkeypatch):
    monkeypatch.setattr("leukoscope.pipeline.lock._lock", lambda handle: None)
    (tmp_path / "lock").write_text(json.dumps({"host": socket.gethostname(), "pid": os.getppid()}))
    with pytest.raises(InputError, match=f"process {os.getppid()}"), RunLock(tmp_path):
        pass
    (tmp_path / "lock").write_text(json.dumps({"host": socket.gethostname(), "pid": 2**30}))
    with RunLock(tmp_path):
        pass
