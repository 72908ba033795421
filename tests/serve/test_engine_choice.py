"""--choose-engine: the engine that the server takes is measured ahead, and remembered where it may write."""

import json

import pytest

pytest.importorskip("fastapi", reason="the server needs the extra `serving`")


def test_the_engine_is_chosen_ahead_and_remembered_elsewhere(launch, model, tmp_path, monkeypatch):
    remembered = tmp_path / "engines.json"
    monkeypatch.setenv("PPCLS_LIGHT_ENGINE_FILE", str(remembered))
    options = ["--precision", "auto", "--max-batch", 2]  # of Paddle: with oneDNN and without
    process = launch("--model", model, *options, "--choose-engine")
    out, log = process.communicate(timeout=120)
    assert process.returncode == 0, log
    assert out.strip() in ("chosen: paddle fp32", "chosen: paddle fp32, oneDNN off")
    (measured,) = json.loads(remembered.read_text())["measurements"]
    assert measured["conditions"]["shape"] == [2, 3, 32, 32]
    written = remembered.stat().st_mtime_ns
    with launch.running(model, *options) as server:
        server.terminate()
        assert "by measurement" not in server.end()[1]
    assert remembered.stat().st_mtime_ns == written
    assert not (model / "engine.json").exists()
