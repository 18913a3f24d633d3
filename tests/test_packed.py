"""Packed arrays come back as they were, alone and joined."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from biomark.machine import packed
from biomark.machine.packed import Packed

DTYPES = st.sampled_from([bool, np.uint8, np.int16, np.float32, np.float64, np.dtype(">f4")])


@st.composite
def arrays(draw):
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=6))
    dtype = np.dtype(draw(DTYPES))
    kind = draw(st.sampled_from(["any", "zeros", "alike"]))
    if kind == "any":
        return draw(hnp.arrays(dtype, shape, elements=None if dtype.kind != "f" else st.floats(-99, 99, width=16)))
    array = np.zeros(shape, dtype)
    if kind == "alike" and array.size:
        array.flat[:: draw(st.integers(1, 4))] = 1
    return array


def same(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


@settings(max_examples=200, deadline=None)
@given(arrays())
def test_what_is_packed_comes_back(array):
    one = Packed.of(array)
    assert same(one.unpack(), array)
    assert same(pickle.loads(pickle.dumps(one)).unpack(), array)


@settings(max_examples=60, deadline=None)
@given(st.lists(arrays(), max_size=5))
def test_joined_and_taken_apart(several):
    data, index = packed.join([Packed.of(array) for array in several])
    assert data.dtype == np.uint8
    again = packed.part(data, json.loads(json.dumps(index)))
    assert len(again) == len(several)
    assert all(same(one.unpack(), array) for one, array in zip(again, several, strict=True))


def test_views_nan_and_single_numbers():
    array = np.arange(24.0).reshape(4, 6)[::-1, ::2]
    assert same(Packed.of(array).unpack(), array)
    broken = np.array([0, np.nan, np.inf, np.nan], np.float32)
    assert same(Packed.of(broken).unpack(), broken)
    assert same(Packed.of(np.float32(3)).unpack(), np.array(3, np.float32))


def test_a_mask_takes_little_room():
    weights = np.zeros((512, 512), np.float32)
    weights[100:300, 100:300] = 0.005
    one = Packed.of(weights)
    assert len(one.bits) + len(one.numbers) < 2000


def test_joined_bytes_that_are_cut_off_are_refused():
    data, index = packed.join([Packed.of(np.eye(5))])
    for wrong in (data[:-1], np.append(data, np.uint8(0))):
        with pytest.raises(ValueError, match="other bytes than their index says"):
            packed.part(wrong, index)
