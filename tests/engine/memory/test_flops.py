"""Paper FLOPs against the paper's own figures, and by hand."""

import pytest

from dycoke_cli.engine.memory.flops import decode_flops, paper_flops, prefill_flops

SEVEN_B = {"hidden": 3584, "mlp": 18944}


def test_prefill_is_the_papers():
    full = prefill_flops([6272] * 28, **SEVEN_B)
    merged = prefill_flops([2979] * 28, **SEVEN_B)
    assert full / 1e12 == pytest.approx(40.8, abs=0.05)
    assert merged / 1e12 == pytest.approx(17.4, abs=0.05)


def test_decode_by_hand():
    # R = 2, d = 3, m = 5, one layer with n = 7: 2 * ((36 + 30) + 2 * (21 + 3 * 3 / 2))
    assert decode_flops(2, [7], hidden=3, mlp=5) == 2 * (66 + 2 * (21 + 4.5))


SIZES = {"hidden": 3, "mlp": 5}

UNCOMPRESSED = prefill_flops([12] * 3, hidden=3, mlp=5) + decode_flops(2, [12] * 3, hidden=3, mlp=5)


def test_a_choice_in_decode():
    counts = {"text": 2, "visual": 10, "read": [5, 5, 5], "attended": [5, 1.5, 1.5]}
    flops = paper_flops(**SIZES, **counts, generated=2)
    assert flops.prefill == prefill_flops([7, 7, 7], hidden=3, mlp=5)
    assert flops.decode == decode_flops(2, [7, 3.5, 3.5], hidden=3, mlp=5)
    assert flops.uncompressed == UNCOMPRESSED


def test_a_prompt_that_is_read_before():
    counts = {"text": 2, "visual": 10, "read": [5, 5], "attended": [5, 5], "generated": 2}
    once, twice = (paper_flops(**SIZES, **counts, reads_before=each) for each in (False, True))
    assert twice.prefill == once.prefill + prefill_flops([12, 12], hidden=3, mlp=5)
    assert (twice.decode, twice.uncompressed) == (once.decode, once.uncompressed)


def test_a_choice_inside():
    counts = {"text": 2, "visual": 10, "read": [10, 10, 4], "attended": [10, 10, 4]}
    flops = paper_flops(**SIZES, **counts, generated=2)
    # A layer of n tokens: 4n·9 + 2n²·3 + 2n·3·5.
    whole, narrowed = 4 * 12 * 9 + 2 * 144 * 3 + 360, 4 * 6 * 9 + 2 * 36 * 3 + 180
    assert flops.prefill == 2 * whole + narrowed
    assert flops.decode == decode_flops(2, [12, 12, 6], hidden=3, mlp=5)
    assert flops.uncompressed == UNCOMPRESSED
