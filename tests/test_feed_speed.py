"""The benchmark of the data loader runs, and its numbers agree with the trace."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import feed_speed


def test_idle_is_the_time_in_which_no_kernel_runs():
    kernels = [(0, 4), (2, 4), (10, 5), (18, 2)]  # start and duration: busy for 6 + 5 + 2 of 20
    events = [{"cat": "kernel", "ts": ts, "dur": dur} for ts, dur in kernels]
    copies = [{"cat": "gpu_memcpy", "ts": 6, "dur": 4}, {"cat": "cpu_op", "ts": -5, "dur": 40}, {"ts": 3}]
    assert feed_speed.idle_share(events + copies) == pytest.approx(7 / 20)


def test_a_pass_tells_waiting_from_computing(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(feed_speed.time, "perf_counter", lambda: clock[0])

    def passes(seconds):
        clock[0] += seconds

    slow_batches = iter(lambda: passes(1.0), 0)
    taken = feed_speed.timed(slow_batches, lambda batch: passes(3.0), 5, feed_speed.torch.device("cpu"))
    assert taken == feed_speed.Pass(4.0, 1.0)


@pytest.mark.slow
def test_the_benchmark_measures_every_way_and_writes_traces(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(feed_speed, "ROWS", 2000)
    monkeypatch.setattr(feed_speed.torch, "set_num_threads", lambda threads: None)
    words = ["--ecgs", "60", "--batch", "2", "--steps", "2", "--rounds", "2", "--trace", str(tmp_path)]
    assert feed_speed.main(words + (["--cold"] if hasattr(feed_speed.os, "posix_fadvise") else [])) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("which of 2000 ECGs are next")
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[-4:]] == list(feed_speed.WAYS)
    for way in feed_speed.WAYS:
        trace = json.loads((tmp_path / f"demo_{way.replace(' ', '_')}.json").read_text())
        assert any("aten::" in str(event.get("name")) for event in trace["traceEvents"])
