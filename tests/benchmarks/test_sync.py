"""What the benchmark measures runs; nothing is asserted of any time."""

import json

from benchmarks import sync


def test_every_point_is_measured_and_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(sync, "CHANNELS", (2, 3))
    monkeypatch.setattr(sync, "WORKERS", (2,))
    sync.main(["--rounds", "2", "--out", str(tmp_path / "out.json")])
    points = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["points"]
    assert [(p["workers"], p["channels"]) for p in points] == [(2, 2), (2, 3)]
    assert all(p["seconds"]["median"] >= p["seconds"]["min"] > 0 for p in points)
