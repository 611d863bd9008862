import pytest

from bnlib.lab import timing
from bnlib.lab.timing import side_by_side


def test_the_calls_take_turns_after_one_that_is_not_counted():
    called = []
    seconds = side_by_side({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, rounds=3)
    assert called == ["a", "b"] * 4
    assert {name: v.shape for name, v in seconds.items()} == {"a": (3,), "b": (3,)}


def test_each_call_is_timed_alone(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])

    def lasting(duration):
        return lambda: clock.__setitem__(0, clock[0] + duration)

    seconds = side_by_side({"short": lasting(1.0), "long": lasting(8.0)}, rounds=2)
    assert seconds["short"].tolist() == [1.0, 1.0]
    assert seconds["long"].tolist() == [8.0, 8.0]


def test_no_rounds_are_refused():
    with pytest.raises(ValueError, match="at least one round"):
        side_by_side({}, rounds=0)
