"""The random stream: constants that must never change, and what makes it random."""

from __future__ import annotations

import math

import numpy as np
import pytest

from backendmlp import random
from backendmlp.digests import digest
from backendmlp.network.initial import initial

# Written down once; a new value would break every run.json there is.
RAW = [0xC680987733A7E255, 0xDC57FB13EFC4666B, 0xA3CDB4BDD87F0E63]
NORMALS = [
    "0x1.82d5f56de8006p-2",
    "0x1.faad0eb60b5f7p-2",
    "0x1.079d036623d9dp+0",
    "0x1.656953740efaep+0",
]
NORMALS_DIGEST = "b77f6b85257a30c1a07d96270a05ea4b0c17f37fef2c6e4bb9a8b9ba8831fb39"
PERMUTATION = [361, 7270, 8972, 3168, 9910, 9206]
PERMUTATION_DIGEST = "1e829afdc405f40737f3f46ae72693362f8560e75171af6b6fb649648ac68d00"
HE_DIGEST = "77937a43c88d83ba145b89f3832b05057e496fad57d30612a7ce8f95c0f1a1ae"


def test_the_raw_stream():
    assert random.stream(100, 1).random_raw(3).tolist() == RAW


def test_the_normal_variates():
    variates = random.normals(random.stream(100, 1), 5000)
    assert [value.hex() for value in variates[:4].tolist()] == NORMALS
    assert digest({"normals": variates}) == NORMALS_DIGEST


def test_the_permutation():
    order = random.permutation(random.stream(100, 3, 7), 10_000)
    assert order[:6].tolist() == PERMUTATION
    assert digest({"order": order}) == PERMUTATION_DIGEST


def test_the_initial_parameters():
    assert digest(initial((784, 100, 10), "relu", 100)) == HE_DIGEST


def test_normal_variates_are_normal():
    count = 100_000
    x = np.sort(random.normals(random.stream(1, 2), count))
    # Each moment within five standard errors of its value.
    for power, (moment, variance) in {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96)}.items():
        assert abs(np.mean(x**power) - moment) < 5 * math.sqrt(variance / count), power
    # Kolmogorov and Smirnov's distance; a true sample exceeds 1.95 / sqrt(n) once in a thousand.
    cdf = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x.tolist()])
    steps = np.arange(count + 1) / count
    distance = max(np.max(steps[1:] - cdf), np.max(cdf - steps[:-1]))
    assert distance < 1.95 / math.sqrt(count)
    assert 4 < np.abs(x).max() < 6.5


def test_neighbouring_variates_are_independent():
    """The two of a pair share a radius, and pairs follow pairs: no lag shows a correlation."""
    x = random.normals(random.stream(3, 1), 100_000)
    for values in (x, x**2 - 1):
        for lag in (1, 2, 3):
            correlation = np.corrcoef(values[:-lag], values[lag:])[0, 1]
            assert abs(correlation) < 5 / math.sqrt(len(x))


def test_the_first_variates_do_not_depend_on_how_many_follow():
    long = random.normals(random.stream(5, 1), 9000)
    for count in (1, 2, 1607, 1608, 1609, 5000):
        short = random.normals(random.stream(5, 1), count)
        assert short.shape == (count,)
        np.testing.assert_array_equal(short, long[:count])


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 63, 64, 65, 1000, 1025])
def test_a_permutation_is_one(count):
    order = random.permutation(random.stream(9, 3), count)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))


def test_every_permutation_is_as_likely():
    """All 24 orders of four things, 4800 times: chi-square with 23 degrees of freedom."""
    seen: dict[tuple[int, ...], int] = {}
    for epoch in range(4800):
        order = tuple(random.permutation(random.stream(11, 3, epoch), 4).tolist())
        seen[order] = seen.get(order, 0) + 1
    assert len(seen) == 24
    assert sum((times - 200) ** 2 / 200 for times in seen.values()) < 55  # p = 0.0002


def test_streams_differ_by_seed_purpose_and_epoch():
    places = [(0, 1, 0), (1, 1, 0), (1, 2, 0), (1, 1, 1), (2**64 - 1, 1, 0), (2, 1, 0)]
    draws = [tuple(random.stream(*place).random_raw(8).tolist()) for place in places]
    assert len({word for draw in draws for word in draw}) == 8 * len(places)
    again = random.stream(1, 2).random_raw(8).tolist()
    assert tuple(again) == draws[2]


def test_he_normal_scales_by_the_fan_in():
    start = initial((784, 100, 10), "relu", 3)
    assert start["W1"].std() == pytest.approx(math.sqrt(2 / 784), rel=0.02)
    assert start["W2"].std() == pytest.approx(math.sqrt(2 / 100), rel=0.1)
    assert not start["b1"].any()
    assert not start["b2"].any()
    assert start["W1"].ravel()[0] != start["W2"].ravel()[0]


def test_other_activations_scale_by_both_fans():
    start = initial((784, 100, 10), "tanh", 3)
    assert start["W1"].std() == pytest.approx(math.sqrt(2 / (784 + 100)), rel=0.02)
    assert start["W2"].std() == pytest.approx(math.sqrt(2 / (100 + 10)), rel=0.1)


def test_each_layer_has_a_stream_of_its_own():
    """So its variates do not depend on the sizes of others, and no stream is drawn from twice."""
    deep = initial((5, 6, 7, 8, 9), "relu", 3)
    assert [deep[f"W{i}"].shape for i in range(1, 5)] == [(5, 6), (6, 7), (7, 8), (8, 9)]
    wider = initial((50, 6, 7, 8, 9), "relu", 3)
    for name in ("W2", "W3", "W4"):
        np.testing.assert_array_equal(deep[name], wider[name])
    firsts = [deep[f"W{i}"].ravel()[:5] / deep[f"W{i}"].std() for i in range(1, 5)]
    firsts += [random.normals(random.stream(3, other), 5) for other in (3, 4)]  # shuffles, splits
    for i, one in enumerate(firsts):
        assert all(not np.allclose(one, other, rtol=1e-2) for other in firsts[:i])
