"""The calcium scorer: worked by hand, against a slow second scorer, on a phantom of ellipsoids and on a real one."""

import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from biomark import agatston, scans
from biomark.agatston import PRESETS, Rules

SPACING_MM = (3.0, 0.5, 0.5)  # a pixel is 0.25 mm2, and four make the smallest lesion of 1990
PIXEL_MM2 = 0.25


def drawn(*slices):
    """A volume from pictures: a digit is that many hundreds of HU and fifty (1 is 150 HU), a dot is fat, -100 HU."""
    return np.array(
        [[[-100 if c == "." else 100 * int(c) + 50 for c in row] for row in picture.split()] for picture in slices],
        np.float32,
    )


# --- worked by hand ----------------------------------------------------------------------------------------


def test_a_lesion_is_area_times_a_factor():
    volume = drawn(".... .11. .12. ....")  # four pixels, peak 250 HU: factor 2
    assert agatston.score(volume, None, SPACING_MM) == 4 * PIXEL_MM2 * 2


@pytest.mark.parametrize(
    "peak_hu, factor",
    [(129.9, 0), (130, 1), (199.9, 1), (200, 2), (299.9, 2), (300, 3), (399.9, 3), (400, 4), (3071, 4)],
)
def test_the_peak_decides_the_factor(peak_hu, factor):
    volume = np.full((1, 6, 6), -100.0)
    volume[0, 1:4, 1:4] = min(peak_hu, 130)
    volume[0, 2, 2] = peak_hu
    area = 9 if factor else 0
    assert agatston.score(volume, None, SPACING_MM) == pytest.approx(area * PIXEL_MM2 * factor)


def test_every_lesion_has_its_own_peak():
    volume = drawn("11..33 11..33 ...... 111... 1.1... 111...")
    # 4 pixels of factor 1, 4 of factor 3 and a ring of 8 of factor 1
    assert agatston.score(volume, None, SPACING_MM) == PIXEL_MM2 * (4 * 1 + 4 * 3 + 8 * 1)


def test_three_pixels_of_a_quarter_mm2_are_too_few():
    volume = drawn("111.. ..... 1111.")
    assert agatston.score(volume, None, SPACING_MM) == 1.0
    assert agatston.score(volume, None, (3, 0.6, 0.6)) == pytest.approx(7 * 0.36)


def test_rounding_in_the_area_does_not_lose_a_lesion():
    assert 9 * (1 / 3 * 1 / 3) == pytest.approx(1) and 100 * (0.1 * 0.1) != 1
    assert agatston.score(drawn("111 111 111 ..."), None, (3, 1 / 3, 1 / 3)) == pytest.approx(1)


def test_neighbours_over_a_corner_are_one_lesion_of_eight_and_two_of_four():
    volume = drawn("11.. 11.. ..44 ..44")
    assert agatston.score(volume, None, SPACING_MM) == PIXEL_MM2 * 8 * 4
    four = Rules(connectivity=4)
    assert agatston.score(volume, None, SPACING_MM, four) == PIXEL_MM2 * (4 * 1 + 4 * 4)


def test_the_edge_of_a_row_or_a_slice_joins_nothing():
    # Read as one line of memory, these would be neighbours.
    volume = drawn("...44 ...44 ..... ..... .....", "..... 11... 11... ..... 11... ", "11... ..... ..... ..... .....")
    assert agatston.score(volume, None, SPACING_MM) == PIXEL_MM2 * (4 * 4 + 4 * 1)


def test_a_lesion_of_1990_ends_with_its_slice():
    volume = drawn("11. 11. ...", "44. 44. ...")
    assert agatston.score(volume, None, SPACING_MM) == PIXEL_MM2 * (4 * 1 + 4 * 4)
    # One component of 8 voxels, 6 mm3; its peak of 450 HU holds for both slices.
    assert agatston.score(volume, None, SPACING_MM, "slicercip") == PIXEL_MM2 * 8 * 4
    # The same component, but the peak is taken in each slice.
    assert agatston.score(volume, None, SPACING_MM, "qurai") == PIXEL_MM2 * (4 * 1 + 4 * 4)


def test_slices_1_mm_apart_count_a_third_only_where_rules_say_so():
    volume = drawn(*[".... .22. .22. ...."] * 3)
    assert agatston.score(volume, None, (1, 0.5, 0.5)) == 3 * 4 * PIXEL_MM2 * 2
    assert agatston.score(volume, None, (1, 0.5, 0.5), "dz3") == pytest.approx(4 * PIXEL_MM2 * 2)
    assert agatston.score(volume, None, SPACING_MM, "dz3") == agatston.score(volume, None, SPACING_MM)


def test_what_each_preset_leaves_out():
    three = drawn("111.. .....")  # 0.75 mm2
    four = drawn("1111. .....")  # 1 mm2 exactly
    one = drawn("1.... .....")

    def scores(volume, spacing=SPACING_MM):
        return {name: round(agatston.score(volume, None, spacing, name), 6) for name in PRESETS}

    assert scores(one) == dict.fromkeys(PRESETS, 0)
    kept = {name for name, value in scores(three).items() if value}
    assert kept == {"qurai", "slicercip", "ai_cac"}  # 2.25 mm3, three voxels
    kept = {name for name, value in scores(four).items() if value}
    assert kept == set(PRESETS) - {"comp2comp"}  # 1 mm2 is not more than 1 mm2
    metal = drawn("4444. 4444.")
    metal[0, 0, 1] = 1001
    assert agatston.score(metal, None, SPACING_MM, "slicercip") == PIXEL_MM2 * 7 * 4
    huge = np.full((3, 30, 30), 150.0)  # 675 mm3
    huge[0, 0, 0] = -100
    assert agatston.score(huge, None, SPACING_MM, "slicercip") == 0


def test_rounding_of_two_presets():
    volume = drawn("22222 .....")
    spacing = (1.0, 0.7, 0.7)
    assert agatston.score(volume, None, spacing, "dz3") == pytest.approx(5 * 0.49 / 3 * 2)  # 1.633
    assert agatston.score(volume, None, spacing, "deepcac") == pytest.approx(5 * 0.163 * 2)  # a voxel is 0.163
    assert agatston.score(volume, None, spacing, "ai_cac") == 2


def test_large_pixels_stand_alone_in_calciumscoring_jl():
    # 0.9 mm: 1 mm2 is 1.2 pixels, rounded 1, and its structuring element is then a single pixel.
    volume = drawn("14. ...")
    assert agatston.score(volume, None, (3, 0.9, 0.9), "calciumscoring_jl") == pytest.approx(0.81 * (1 + 4))
    assert agatston.score(volume, None, (3, 0.5, 0.5), "calciumscoring_jl") == 0  # 4 pixels are needed


def test_other_tube_voltages():
    assert [agatston.threshold_hu(kv) for kv in (80, 100, 120)] == [184, 154, 128]
    volume = np.full((1, 4, 4), -100.0)
    volume[0, 1:3, 1:3] = 230
    rules = PRESETS["agatston1990"].at_kvp(100)
    assert agatston.score(volume, None, SPACING_MM) == 2 == agatston.score(volume, None, SPACING_MM, rules)
    volume[0, 1:3, 1:3] = 154  # must be exceeded
    assert agatston.score(volume, None, SPACING_MM) == 1
    assert agatston.score(volume, None, SPACING_MM, rules) == 0
    assert rules.at_kvp(100) is rules and PRESETS["agatston1990"].at_kvp(120) is PRESETS["agatston1990"]
    with pytest.raises(ValueError, match="only for 70, 80, 100, 120, 135"):
        rules.at_kvp(90)


# --- masks -------------------------------------------------------------------------------------------------


def test_a_generous_mask_changes_nothing_and_a_tight_one_cuts():
    volume = drawn("...... .1114. .1111. ......")
    generous = np.zeros(volume.shape, bool)
    generous[0, 0:4, 1:6] = True
    assert agatston.score(volume, generous, SPACING_MM) == agatston.score(volume, None, SPACING_MM) == 8
    tight = generous.copy()
    tight[0, :, 4] = False  # without the peak
    assert agatston.score(volume, tight, SPACING_MM) == PIXEL_MM2 * 6 * 1


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_masks_of_every_type(dtype):
    volume = drawn("11..44 11..44 ......")
    mask = np.zeros(volume.shape, dtype)
    mask[0, :, :2] = 1
    assert agatston.score(volume, mask, SPACING_MM) == 1
    assert agatston.score(volume, np.zeros_like(mask), SPACING_MM) == 0
    assert agatston.score(volume, np.ones_like(mask), SPACING_MM) == 5


def test_values_that_are_not_finite_matter_inside_the_mask_only():
    volume = drawn("11... 11... .....")
    mask = volume > 0
    volume[0, 2, 4] = np.nan
    assert agatston.score(volume, mask, SPACING_MM) == 1
    for value in (np.nan, np.inf):
        volume[0, 0, 0] = value
        with pytest.raises(ValueError, match="slice 0 of volume_hu holds values that are not finite"):
            agatston.score(volume, mask, SPACING_MM)


# --- tables, volume, mass ----------------------------------------------------------------------------------


def test_the_table_of_lesions():
    volume = drawn("11.... 11.... ...... ......", "...... ...... ..333. ..333.")
    table = agatston.lesions(volume, None, SPACING_MM)
    assert table[["slice", "voxels", "factor"]].to_numpy().tolist() == [[0, 4, 1], [1, 6, 3]]
    assert table[["row", "column"]].to_numpy().tolist() == [[0.5, 0.5], [2.5, 3.0]]
    assert table.area_mm2.tolist() == [1.0, 1.5] and table.volume_mm3.tolist() == [3.0, 4.5]
    assert table.peak_hu.tolist() == [150, 350] == table.mean_hu.tolist()
    assert table.score.sum() == agatston.score(volume, None, SPACING_MM)
    assert table.attrs == {"rules": "agatston1990", "findings": ()}
    # 4 voxels of 150 HU and 6 of 350, 0.75 mm3 each; 0.8 mg/cm3 per HU
    mass = agatston.mass_score(volume, None, SPACING_MM, 0.8)
    assert mass == pytest.approx(0.8 * (4 * 150 + 6 * 350) * 0.75 / 1000)


def test_a_lesion_in_the_volume_spans_slices():
    volume = drawn("11. 11. ...", "44. 44. ...", "... ... ...")
    whole = agatston.lesions(volume, None, SPACING_MM, "slicercip")
    assert whole[["slice", "last_slice", "voxels", "area_mm2"]].to_numpy().tolist() == [[0, 1, 8, 2.0]]
    parts = agatston.lesions(volume, None, SPACING_MM, "qurai")
    assert parts[["slice", "last_slice", "factor"]].to_numpy().tolist() == [[0, 0, 1], [1, 1, 4]]


def test_a_lesion_on_a_border_belongs_to_the_artery_with_most_of_it():
    volume = drawn("1111.22 1111.22 .......")
    mask = np.array([[[1, 2, 2, 2, 0, 7, 7]] * 2 + [[0] * 7]])
    table = agatston.lesions(volume, mask, SPACING_MM, arteries={1: "LM", 2: "LAD"})
    assert table.artery.tolist() == ["LAD", "7"]
    assert table.score.tolist() == [2, 2] and table.score.sum() == agatston.score(volume, mask, SPACING_MM)
    mask[0, :, 1] = 1  # four voxels each: the smaller label
    assert agatston.lesions(volume, mask, SPACING_MM, arteries={1: "LM", 2: "LAD"}).artery[0] == "LM"
    assert "artery" not in agatston.lesions(volume, mask, SPACING_MM)
    with pytest.raises(ValueError, match="the mask has none"):
        agatston.lesions(volume, mask > 0, SPACING_MM, arteries={1: "LM"})


def test_a_table_without_lesions():
    table = agatston.lesions(drawn("... ..."), None, SPACING_MM, arteries=None)
    assert len(table) == 0 and table.score.sum() == 0
    empty = np.zeros((1, 2, 3), int)
    assert "artery" in agatston.lesions(drawn("... ..."), empty, SPACING_MM, arteries={1: "LM"})


# --- a second scorer, slow and plain -----------------------------------------------------------------------


def labelled(candidate, rules, spacing):
    """Components of a mask by scipy, 0 outside."""
    if rules.area_comparison == "rounded" and round(rules.minimum_area_mm2 / (spacing[1] * spacing[2])) <= 1:
        labels = np.zeros(candidate.shape, int)
        labels[candidate] = np.arange(1, candidate.sum() + 1)
        return labels
    rank = {4: 1, 8: 2, 6: 1, 18: 2, 26: 3}[rules.connectivity]
    structure = ndimage.generate_binary_structure(3, rank)
    if rules.dimension == 2:
        structure[[0, 2]] = False
    return ndimage.label(candidate, structure)[0]


def candidates(volume, rules):
    above = volume >= rules.threshold_hu if rules.threshold_included else volume > rules.threshold_hu
    return above & (volume <= (rules.maximum_hu or np.inf))


def slow_score(volume, mask, spacing, rules):
    """One mask a lesion, one condition after the other."""
    dz, dy, dx = spacing
    voxel = dy * dx * (dz / rules.reference_spacing_mm if rules.reference_spacing_mm else 1)
    voxel = voxel if rules.voxel_decimals is None else np.round(voxel, rules.voxel_decimals)
    labels = labelled(candidates(volume, rules) & mask, rules, spacing)
    total = 0.0
    for label in range(1, labels.max() + 1):
        lesion = labels == label
        n = lesion.sum()
        if rules.area_comparison == "rounded" and n < round(rules.minimum_area_mm2 / (dy * dx)):
            continue
        if rules.area_comparison == "more than" and n * dy * dx <= rules.minimum_area_mm2:
            continue
        if rules.area_comparison == "at least" and n * dy * dx < rules.minimum_area_mm2:
            continue
        if n < rules.minimum_voxels or n * dz * dy * dx < rules.minimum_volume_mm3:
            continue
        if rules.maximum_volume_mm3 and n * dz * dy * dx > rules.maximum_volume_mm3:
            continue
        parts = [lesion & (np.arange(len(volume)) == k)[:, None, None] for k in range(len(volume))]
        for part in parts if rules.peak == "slice" else [lesion]:
            if part.any():
                value = part.sum() * voxel * sum(volume[part].max() >= cut for cut in rules.density_cuts_hu)
                total += value if rules.lesion_decimals is None else np.round(value, rules.lesion_decimals)
    return total


EIGHTEEN = Rules("18 neighbours", connectivity=18, minimum_area_mm2=0, minimum_voxels=2)
HU = [-900, 40, 127, 128, 129, 130, 150, 199, 200, 299, 300, 399, 400, 700, 1000, 1001]


@st.composite
def scenes(draw):
    """A small volume in HU, a spacing and rules."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 7), st.integers(1, 7)))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    calcium = rng.random(shape) < draw(st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]))
    volume = np.where(calcium, rng.choice(HU, shape), -100).astype(draw(st.sampled_from(["i2", "f4", "f8"])))
    if not (volume < 0).any():
        volume[0, 0, 0] = -100
    # Steps that make no lesion's area a limit by the rounding of floats alone.
    spacing = tuple(draw(st.integers(5, 60)) * step for step in (0.1, 0.0237, 0.0231))
    return volume, spacing, draw(st.sampled_from([*PRESETS.values(), EIGHTEEN]))


@settings(max_examples=300, deadline=None)
@given(scenes(), st.sampled_from([0.0, 0.3, 0.8, 1.0]), st.integers(0, 10**6))
def test_equals_the_slow_scorer_on_any_mask(scene, filled, seed):
    volume, spacing, rules = scene
    mask = np.random.default_rng(seed).random(volume.shape) < filled
    expected = slow_score(volume, mask, spacing, rules)
    assert agatston.score(volume, mask, spacing, rules) == pytest.approx(expected, rel=1e-9)
    labels = mask * np.random.default_rng(seed).integers(1, 4, volume.shape)
    table = agatston.lesions(volume, labels, spacing, rules, arteries={1: "LAD"})
    assert table.score.sum() == pytest.approx(expected, rel=1e-9)


@settings(max_examples=300, deadline=None)
@given(scenes(), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 10**6))
def test_the_score_is_linear_in_whole_components(scene, chosen, seed):
    volume, spacing, rules = scene
    rng = np.random.default_rng(seed)
    labels = labelled(candidates(volume, rules), rules, spacing)
    chosen = rng.random(labels.max() + 1) < chosen
    # What is no candidate may be in the mask or not.
    mask = np.where(labels > 0, chosen[labels], rng.random(volume.shape) < 0.5)
    w = agatston.weights(volume, spacing, rules)
    assert w.dtype == np.float32 and w.shape == volume.shape and (w[labels == 0] == 0).all()
    score = agatston.score(volume, mask, spacing, rules)
    assert np.sum(w * mask, dtype=float) == pytest.approx(score, rel=1e-6, abs=1e-12)
    assert np.sum(w, dtype=float) == pytest.approx(agatston.score(volume, None, spacing, rules), rel=1e-6, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(scenes())
def test_flips_and_air_around_change_nothing(scene):
    volume, spacing, rules = scene
    w = agatston.weights(volume, spacing, rules)
    for axis in range(3):
        flipped = agatston.weights(np.flip(volume, axis), spacing, rules)
        np.testing.assert_array_equal(np.flip(flipped, axis), w)
    pad = ((1, 2), (0, 3), (2, 0))
    padded = np.pad(volume, pad, constant_values=-1000)
    np.testing.assert_array_equal(agatston.weights(padded, spacing, rules), np.pad(w, pad))
    np.testing.assert_array_equal(agatston.weights(np.asfortranarray(volume), spacing, rules), w)


# --- a phantom of ellipsoids on which conventions part ---------------------------------------------------


def ellipsoids(dz, pixel=0.7, fine=3):
    """Twelve calcifications of 180 to 900 HU in a cube of 60 mm of 45 HU, drawn as (x, y, z), with partial volume."""
    rng = np.random.default_rng(3)
    drawn = [(rng.uniform(6, 54, 3), rng.uniform(0.7, 2.6, 3), rng.uniform(180, 900)) for _ in range(12)]
    steps = [dz, pixel, pixel]
    counts = [round(60 / step) for step in steps]
    places = [(np.arange(n * fine) + 0.5) * step / fine for n, step in zip(counts, steps, strict=True)]
    hu = np.full([n * fine for n in counts], 45.0, np.float32)
    for centre, radius, value in drawn:
        near = [np.abs(p - c) <= r for p, c, r in zip(places, centre[::-1], radius[::-1], strict=True)]
        grid = np.meshgrid(*[p[n] for p, n in zip(places, near, strict=True)], indexing="ij")
        inside = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre[::-1], radius[::-1], strict=True)) <= 1
        box = np.ix_(*near)
        hu[box] = np.where(inside, np.float32(value), hu[box])
    d, h, w = counts
    return hu.reshape(d, fine, h, fine, w, fine).mean((1, 3, 5))


@pytest.fixture(scope="module")
def cubes():
    return {dz: ellipsoids(dz) for dz in (3.0, 2.5, 1.0, 5.0)}


# Slices 3, 2.5, 1 and 5 mm apart. Four numbers differ from the table in our notes on the field, for two reasons that
# the next test shows; the other 28 are that table's.
TABLE = {
    "agatston1990": (385, 425, 1005, 231),
    "dz3": (385, 354, 335, 385),
    "deepcac": (382, 354, 332, 383),
    "qurai": (385, 355, 336, 388),
    "slicercip": (424, 460, 1065, 242),
    "ai_cac": (425, 382, 356, 403),
    "calciumscoring_jl": (389, 429, 1011, 233),
    "comp2comp": (385, 425, 1005, 231),
}


@pytest.mark.parametrize("name", PRESETS)
def test_conventions_part_on_one_phantom(name, cubes):
    scores = [agatston.score(hu, None, (dz, 0.7, 0.7), name) for dz, hu in cubes.items()]
    np.testing.assert_allclose(scores, TABLE[name], atol=0.51)


def test_what_the_table_of_the_field_left_out(cubes):
    # Its DeepCAC did not round the value of a voxel, 0.1633, to 0.163.
    unrounded = replace(PRESETS["deepcac"], voxel_decimals=None)
    assert agatston.score(cubes[1.0], None, (1, 0.7, 0.7), unrounded) == pytest.approx(333, abs=0.5)
    # Its CalciumScoring.jl asked for 1 mm2 and not for the two pixels of 0.49 mm2 that this is rounded to.
    exact = replace(PRESETS["calciumscoring_jl"], area_comparison="at least")
    scores = [agatston.score(hu, None, (dz, 0.7, 0.7), exact) for dz, hu in cubes.items()]
    np.testing.assert_allclose(scores, (389, 428, 1009, 232), atol=0.5)


# --- risk groups, findings, refusals -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "scheme, expected",
    {
        "standard": {0: "0", 0.3: "1-10", 10: "1-10", 10.01: "11-100", 100: "11-100", 100.5: "101-400", 401: ">400"},
        "deepcac": {0: "0", 0.3: "1-100", 100: "1-100", 100.5: "101-300", 300: "101-300", 300.1: ">300"},
        "qurai": {0: "0-10", 10: "0-10", 10.5: "11-100", 1000: "101-1000", 1000.5: ">1000"},
        "cac-drs": {0: "0", 0.3: "1-99", 99.9: "1-99", 100: "100-299", 299.9: "100-299", 300: ">=300"},
    }.items(),
)
def test_risk_groups(scheme, expected):
    assert {score: agatston.risk_group(score, scheme) for score in expected} == expected
    groups = agatston.RISK_SCHEMES[scheme].groups
    order = [groups.index(agatston.risk_group(score, scheme)) for score in np.linspace(0, 1200, 5001)]
    assert order == sorted(order) and set(order) == set(range(len(groups)))


def test_risk_groups_refuse():
    with pytest.raises(ValueError, match="choose one of standard, deepcac, qurai, cac-drs"):
        agatston.risk_group(3, "mesa")
    for score in (-1, float("nan")):
        with pytest.raises(ValueError, match="0 or more"):
            agatston.risk_group(score)


def test_the_original_acquisition_has_no_findings():
    assert agatston.findings((3, 0.5, 0.5), slice_thickness_mm=3, kvp=120) == []
    assert agatston.findings((3, 0.5, 0.5)) == []


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(spacing_mm=(1, 0.5, 0.5)), ["does not correct", "about 3 times"]),
        (dict(spacing_mm=(1, 0.5, 0.5), rules="dz3"), ["by 1/3", "not the original"]),
        (dict(spacing_mm=(3, 0.5, 0.5), slice_thickness_mm=6), ["more than once"]),
        (dict(spacing_mm=(3, 0.5, 0.5), slice_thickness_mm=6, rules="dz3"), ["not counted twice"]),
        (dict(spacing_mm=(3, 0.5, 0.5), slice_thickness_mm=1), ["gaps of 2 mm", "1 mm thick instead of 3"]),
        (dict(spacing_mm=(5, 0.5, 0.5), slice_thickness_mm=5), ["lowers the scores of small lesions"]),
        (dict(spacing_mm=(3, 0.5, 0.5), kvp=100), ["brighter", "100 kV"]),
        (dict(spacing_mm=(0.5, 0.5, 3)), ["spacing_mm is (dz, dy, dx)"]),
    ],
)
def test_findings(arguments, words):
    text = " ".join(agatston.findings(**arguments))
    for word in words:
        assert word in text
    given = {**arguments}
    table = agatston.lesions(drawn("44. 44."), None, given.pop("spacing_mm"), **given)
    assert " ".join(table.attrs["findings"]) == text


@pytest.mark.parametrize("pixel_mm", [0.3, 0.4883, 0.7])
@pytest.mark.parametrize("slice_mm", [0.5, 0.625, 1.5, 3.0])
def test_a_spacing_in_another_order_is_refused(slice_mm, pixel_mm):
    volume, right = np.full((1, 9, 9), -100.0), (slice_mm, pixel_mm, pixel_mm)
    volume[0, 1:8, 1:8] = 450
    for order in ((pixel_mm, pixel_mm, slice_mm), (pixel_mm, slice_mm, pixel_mm)):  # (x, y, z) and (x, z, y)
        for call in (
            lambda: agatston.score(volume, None, order),  # noqa: B023
            lambda: agatston.weights(volume, order),  # noqa: B023
            lambda: agatston.mass_score(volume, None, order, 0.8),  # noqa: B023
        ):
            with pytest.raises(ValueError, match=r"in CT they are square: give \(dz, dy, dx\), not \(x, y, z\)\."):
                call()
    assert agatston.score(volume, None, right) > 0
    assert agatston.score(volume, None, (pixel_mm,) * 3) > 0  # cubes are the same in any order
    assert agatston.score(volume, None, (slice_mm, pixel_mm, 1.001 * pixel_mm)) > 0  # headers round


def test_a_table_says_when_nothing_is_below_0_hu():
    notes = agatston.lesions(np.full((1, 4, 4), 150.0), None, SPACING_MM).attrs["findings"]
    assert len(notes) == 1 and "make sure that these are Hounsfield units" in notes[0]


VOLUME = drawn("1111. 1111. .....")
STORED = np.full((2, 20, 20), 1064)  # 40 HU + 1024


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: agatston.score(VOLUME[0], None, SPACING_MM), r"shape \(3, 5\).*volume_hu\[None\]"),
        (lambda: agatston.score(VOLUME[None], None, SPACING_MM), r"\(slices, rows, columns\)"),
        (lambda: agatston.score(VOLUME[:0], None, SPACING_MM), "no voxel"),
        (lambda: agatston.score(VOLUME.astype(np.uint16), None, SPACING_MM), "uint16.*rescale slope"),
        (lambda: agatston.score(STORED, None, SPACING_MM), "stored values"),
        (lambda: agatston.score(VOLUME, VOLUME[0] > 0, SPACING_MM), "mask has shape"),
        (lambda: agatston.score(VOLUME, np.full(VOLUME.shape, 0.5), SPACING_MM), "mask > 0.5"),
        (lambda: agatston.score(VOLUME, np.full(VOLUME.shape, -1), SPACING_MM), "whole numbers from 0"),
        (lambda: agatston.score(VOLUME, np.full(VOLUME.shape, "a"), SPACING_MM), "True and False"),
        (lambda: agatston.score(VOLUME, None, (0.5, 0.5)), "three distances"),
        (lambda: agatston.score(VOLUME, None, (0.003, 0.0005, 0.0005)), "in mm"),
        (lambda: agatston.score(VOLUME, None, (0.3, 0.05, 0.05)), "dy should lie"),
        (lambda: agatston.score(VOLUME, None, (3000, 500, 500)), "dz should lie"),
        (lambda: agatston.score(VOLUME, None, (np.nan, 0.5, 0.5)), "dz should lie"),
        (lambda: agatston.score(VOLUME, None, (3, -0.5, 0.5)), "dy should lie"),
        (lambda: agatston.score(VOLUME, None, SPACING_MM, "agatston"), "choose one of agatston1990, dz3"),
        (lambda: agatston.weights(VOLUME, SPACING_MM, "agatston"), "unknown rules"),
        (lambda: agatston.mass_score(VOLUME, None, SPACING_MM), "needs calibration_mg_per_cm3_hu"),
        (lambda: agatston.mass_score(VOLUME, None, SPACING_MM, 0.00072), "multiply one in mg/mm3 by 1000"),
        (lambda: agatston.mass_score(VOLUME, None, SPACING_MM, np.nan), "about 0.8"),
        (lambda: agatston.findings(SPACING_MM, slice_thickness_mm=0), "slice_thickness_mm is 0"),
        (lambda: agatston.findings(SPACING_MM, kvp=120000), "in kV"),
        (lambda: agatston.threshold_hu(0.12), "in kV"),
        (lambda: Rules(connectivity=5), "connectivity is 5: choose one of 4, 8, 6, 18, 26"),
        (lambda: Rules(peak="voxel"), "'component', 'slice'"),
        (lambda: Rules(connectivity=26), "set it to 0"),
        (lambda: Rules(density_cuts_hu=(200, 130)), "increasing"),
        (lambda: Rules(threshold_hu=np.nan), "finite"),
        (lambda: Rules(reference_spacing_mm=0), "above 0"),
    ],
)
def test_bad_input_ends_with_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        call()
    assert str(error.value).endswith((".", "?")) and "\n" not in str(error.value)


def test_presets_are_named_and_sourced_and_1990_is_the_default():
    assert all(rules.name == name and rules.source for name, rules in PRESETS.items())
    assert all(scheme.source for scheme in agatston.RISK_SCHEMES.values())
    assert replace(PRESETS["agatston1990"], name="custom", source="") == Rules()


def test_memory_stays_below_three_times_the_input():
    rng = np.random.default_rng(0)
    volume = rng.normal(40, 44, (24, 128, 128)).astype(np.int16)  # specks, 2 % of the voxels are candidates
    for call in (agatston.score, lambda volume, mask, spacing: agatston.weights(volume, spacing)):
        tracemalloc.start()
        call(volume, None, SPACING_MM)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3 * volume.nbytes


# --- a real phantom ----------------------------------------------------------------------------------------

REAL = Path(os.environ.get("BIOMARK_SCANS", "/nonexistent"))
real = pytest.mark.skipif(not REAL.is_dir(), reason="BIOMARK_SCANS names no folder of real scans")

# Canon_Aquilion_One_Vision, Large_rep1 in data/output/agatston.csv of MolloiLab/CAC-stanford-data: the Agatston score
# and, in mg, the mass by Agatston's lesions, with the calibration of that file.
PUBLISHED = {
    ("large", "low"): (137.409, 25.179),
    ("large", "medium"): (236.715, 49.430),
    ("large", "high"): (396.272, 94.327),
    ("medium", "low"): (22.386, 4.687),
    ("medium", "medium"): (69.538, 10.960),
    ("medium", "high"): (89.304, 21.403),
    ("small", "low"): (0.0, 0.0),
    ("small", "medium"): (0.0, 0.0),
    ("small", "high"): (6.192, 1.140),
}
CALIBRATION = 0.72225  # mg/cm3 per HU


def inserts(scan):
    """Masks of the nine inserts by geometry: three spokes 120 degrees apart, 12.5 mm from a size to the next.

    The large inserts are found by their brightness; the others lie on the way to the centre of their circle. A mask is
    a disc of 5 mm around an insert, over five slices: the largest insert has a radius of 2.5 mm, and 2.5 mm more hold
    all of its blur (the scores stay the same up to 6 mm). Outside the discs, noise of 21 HU on 78 HU of phantom makes
    specks of 1 to 2 mm2 by the dozen; the discs alone keep them out.
    """
    pixel = scan.spacing_mm[1]
    guess = {"low": (281, 298), "medium": (151, 292), "high": (220, 180)}
    large = {}
    for density, (row, column) in guess.items():
        around = np.s_[21:24, row - 9 : row + 10, column - 9 : column + 10]
        middle = ndimage.center_of_mass(np.maximum(scan.hu[around] - 100, 0).sum(0))
        large[density] = np.array([row - 9 + middle[0], column - 9 + middle[1]])
    points = np.array(list(large.values()))
    centre = np.linalg.solve(2 * (points[1:] - points[0]), (points[1:] ** 2 - points[0] ** 2).sum(1))
    rows, columns = np.indices(scan.hu.shape[1:])
    masks = {}
    for density, start in large.items():
        inward = (centre - start) / np.linalg.norm(centre - start)
        for size, along_mm in {"large": 0, "medium": 12.5, "small": 25}.items():
            row, column = start + inward * along_mm / pixel
            mask = np.zeros(scan.hu.shape, bool)
            mask[20:25] = np.hypot(rows - row, columns - column) * pixel <= 5
            masks[size, density] = mask
    return masks


@pytest.fixture(scope="module")
def phantom():
    scan = scans.read(REAL / "qrm-calcium-phantom/dicom")
    return scan, inserts(scan)


@real
def test_real_phantom_with_the_rules_it_was_published_with(phantom):
    scan, masks = phantom
    # CalciumScoring.jl of 2022: above 130 HU (not 128 as later), factors from 200, 300 and 400 HU, 1 mm2 rounded to
    # whole pixels, which are four.
    rules = Rules(threshold_included=False, area_comparison="rounded")
    ours = {name: agatston.score(scan.hu, mask, scan.spacing_mm, rules) for name, mask in masks.items()}
    pixel = scan.spacing_mm[1] * scan.spacing_mm[2]
    # Six of nine agree to the last pixel. The published masks are narrower discs, dilated in boxes. That of the large
    # dense insert leaves out two pixels of factor 4 at 4.4 to 4.6 mm; two others hold a speck of noise more, of four
    # pixels (there is one 6.1 mm away in the slice below) and of five (where, is not known to us).
    differing_pixels = {("large", "high"): -8, ("large", "medium"): 4, ("medium", "high"): 5}
    for name, (published, _) in PUBLISHED.items():
        assert ours[name] + differing_pixels.get(name, 0) * pixel == pytest.approx(published, abs=0.01), name


@real
def test_real_phantom_with_the_rules_of_1990(phantom):
    scan, masks = phantom
    findings = agatston.findings(scan.spacing_mm, scan.meta["slice_thickness_mm"], scan.meta["kVp"])
    assert findings == []  # contiguous slices of 3 mm at 120 kV
    for name, mask in masks.items():
        published, published_mass = PUBLISHED[name]
        # 130 HU itself counts (up), lesions of four pixels, 0.95 mm2, do not (down), and masks differ as above.
        assert agatston.score(scan.hu, mask, scan.spacing_mm) == pytest.approx(published, rel=0.02, abs=1.3), name
        # The mass of the whole lesion, phantom around the calcium included: 10 to 30 % above the calcium put in.
        mass = agatston.mass_score(scan.hu, mask, scan.spacing_mm, CALIBRATION)
        assert mass == pytest.approx(published_mass, rel=0.05, abs=0.1)


@real
def test_noise_alone_makes_lesions_in_the_real_phantom(phantom):
    scan, masks = phantom
    rows, columns = np.indices(scan.hu.shape[1:])
    heart = np.hypot(rows - 218, columns - 256) * scan.spacing_mm[1] < 45
    plain = np.zeros(scan.hu.shape, bool)
    plain[10:18] = heart  # no insert in these slices
    specks = agatston.lesions(scan.hu, plain, scan.spacing_mm)
    assert 10 < len(specks) < 200 and specks.area_mm2.max() < 3 and (specks.factor == 1).all()
