"""The switch against one hostile peer: the short form of campaign_peers.py."""

import time

import peers

MESSAGES = 30000
NEIGHBOURS = 8
SECONDS = 5e6  # microseconds; the campaign has 100 ms, on a machine of its own


def test_messages_in_every_state(tmp_path):
    """Every request in every state; no neighbour loses a frame, the switch keeps nothing."""
    figures = peers.run(tmp_path, ["--messages", MESSAGES, "--unsealed", "--seed", time.time_ns()],
                        NEIGHBOURS)
    peer = figures["peer"]
    assert peer["messages"] >= MESSAGES and peer["valid"] * 2 >= peer["messages"]
    assert peer["missed"] == 0
    assert figures["neighbours"]["answer_us"]["max"] < SECONDS
    assert figures["control_us"]["max"] < SECONDS


def test_connects(tmp_path):
    """Connecting, saying half a word and hanging up, again and again."""
    figures = peers.run(tmp_path, ["--connects", 20000, "--seed", time.time_ns()], 2)
    assert figures["peer"]["sessions"] == 20000
