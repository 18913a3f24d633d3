"""Adapters of public data sets, on small trees with the layout of the downloads."""

from __future__ import annotations

import plistlib
import resource
import zlib
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from dicom_files import body_hu, ct_slice, save, series

import biomark as bm
from biomark import datasets
from biomark.datasets.calcium import filled
from biomark.datasets.table import relative
from biomark.scans import ScanError

# RAS millimetres of index (column, row, slice): pixels of 5 mm, slices 2 mm apart, columns to the patient's left.
AFFINE = np.array([[-5.0, 0, 0, 120], [0, -5, 0, 120], [0, 0, 2, 0], [0, 0, 0, 1]])
PIXEL_CM2 = 0.25


def nifti(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """Write an array (D, H, W)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.ascontiguousarray(data.transpose(2, 1, 0)), affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def liver_labels() -> np.ndarray:
    """12 slices: liver of 16 x 10 pixels (40 cm2) in slices 2 to 10, tumour of 2 x 3 in 4 and of 4 x 5 in 7."""
    labels = np.zeros((12, 48, 48), np.uint8)
    labels[2:11, 16:32, 14:24] = 1
    labels[4, 20:22, 16:19] = 2
    labels[7, 20:24, 16:21] = 2
    return labels


def chest(slices: int = 12) -> np.ndarray:
    return np.stack([body_hu(k) for k in range(slices)])


def msd(root: Path, numbers=(3, 10)) -> Path:
    for n in numbers:
        nifti(root / f"Task03_Liver/imagesTr/liver_{n}.nii.gz", chest())
        nifti(root / f"Task03_Liver/labelsTr/liver_{n}.nii.gz", liver_labels())
        (root / f"Task03_Liver/imagesTr/._liver_{n}.nii.gz").write_bytes(b"Mac")
    nifti(root / "Task03_Liver/imagesTs/liver_99.nii.gz", chest())
    return root


def cohort(table: pd.DataFrame, root: Path, task: str, **options) -> bm.Cohort:
    """What the manifest gives when it was written and read again."""
    table.to_csv(root / "m.csv", index=False)
    return bm.manifests.read(root / "m.csv", task, cache=root / "cache", progress=False, **options)


def outlined(cohort: bm.Cohort, pixel_cm2: float) -> list[float]:
    """The area inside each outline, candidate or not."""
    return [np.count_nonzero(cohort.regions(i)[1]) * pixel_cm2 for i in range(len(cohort))]


# --- liver -----------------------------------------------------------------------------------------------


def test_msd_gives_every_so_many_mm_of_liver_and_the_largest_tumour(tmp_path):
    table = datasets.msd_liver(msd(tmp_path), every_mm=8, masks=tmp_path / "masks", progress=False)
    assert list(table) == ["id", "image", "value", "slice", "mask", "group"] and not table.attrs["set_aside"]
    first = table[table["group"] == "msd-3"]
    # Liver from slice 2 on, every fourth of 2 mm; and slice 7.
    assert list(first["slice"]) == [2, 6, 7, 10]
    assert list(first["value"]) == [0, 0, 20 * PIXEL_CM2, 0]
    assert list(table["group"].unique()) == ["msd-3", "msd-10"]
    assert table["image"].iloc[0] == "Task03_Liver/imagesTr/liver_3.nii.gz"
    read = cohort(table, tmp_path, "liver", grid=bm.scans.Grid((48, 48), (5.0, 5.0)))
    # The number is the area of the mask on the slice that the manifest names.
    np.testing.assert_allclose(outlined(read, PIXEL_CM2), read.values)
    assert list(read.about["group"]) == list(table["group"])


def test_msd_takes_no_slice_with_little_liver(tmp_path):
    root = msd(tmp_path, (3,)) / "Task03_Liver"
    table = datasets.msd_liver(root, every_mm=4, progress=False)
    assert list(table["slice"]) == [2, 4, 6, 7, 8, 10] and "mask" not in table
    assert table["value"].iloc[1] == 6 * PIXEL_CM2
    little = liver_labels()
    little[:, 18:] = 0
    nifti(root / "labelsTr/liver_3.nii.gz", little)
    with pytest.raises(ScanError, match="no case of Task03_Liver could be used, of 1; msd-3: no slice has enough"):
        datasets.msd_liver(root, progress=False)


def test_label_volumes_stored_upside_down_give_the_same_rows(tmp_path):
    plain = datasets.msd_liver(msd(tmp_path / "a", (3,)), every_mm=4, progress=False)
    # The same volume with slices from the head down, and rows and columns the other way.
    turned = AFFINE @ np.array([[-1.0, 0, 0, 47], [0, -1, 0, 47], [0, 0, -1, 11], [0, 0, 0, 1]])
    for kind, data in (("images", chest()), ("labels", liver_labels())):
        nifti(tmp_path / f"b/Task03_Liver/{kind}Tr/liver_3.nii.gz", data[::-1, ::-1, ::-1], turned)
    pd.testing.assert_frame_equal(datasets.msd_liver(tmp_path / "b", every_mm=4, progress=False), plain)


def test_lits_finds_both_batches_and_sets_aside_what_does_not_fit(tmp_path):
    for n, batch in ((0, "Training Batch 1"), (28, "Training Batch 2"), (29, "Training Batch 2")):
        nifti(tmp_path / batch / f"volume-{n}.nii", chest())
        mirrored = AFFINE * [[-1], [1], [1], [1]] if n == 28 else AFFINE
        if n != 29:
            nifti(tmp_path / batch / f"segmentation-{n}.nii", liver_labels(), mirrored)
    nifti(tmp_path / "test-volume-0.nii", chest())
    table = datasets.lits(tmp_path, progress=False)
    assert set(table["group"]) == {"lits-0"} and table["image"].iloc[0] == "Training Batch 1/volume-0.nii"
    aside = table.attrs["set_aside"]
    assert set(aside) == {"lits-28", "lits-29"}
    assert "does not lie on the voxels of its image" in aside["lits-28"]
    assert "there is no file" in aside["lits-29"] and "segmentation-29.nii" in aside["lits-29"]


def ircadb(root: Path, tumours=("livertumor01", "livertumor02")) -> Path:
    """12 slices whose names run from head to feet, as in the archive; two tumour folders that overlap."""
    labels = liver_labels()
    patient = root / "3Dircadb1.7"
    for k in range(12):
        position = (-168.0, -168.0, 2.0 * k)
        save(ct_slice(body_hu(k), position), patient / f"PATIENT_DICOM/image_{11 - k}")
        drawn = {"liver": labels[k] > 0, "livercyst": labels[k] == 1, "leftkidneytumor": labels[k] == 1}
        for name in tumours:
            drawn[name] = labels[k] == 2
        for name, mask in drawn.items():
            plane = (255 * mask).astype(np.uint8)
            path = patient / f"MASKS_DICOM/{name}/image_{11 - k}"
            save(ct_slice(plane, position, RescaleSlope=None, Modality="OT"), path)
    return root


@pytest.mark.parametrize("tumours", [("livertumor01", "livertumor02"), ("tumor",)])
def test_ircadb_orders_by_position_and_knows_every_name_of_a_tumour(tmp_path, tumours):
    table = datasets.ircadb(ircadb(tmp_path, tumours), every_mm=8, masks=tmp_path / "masks", progress=False)
    assert list(table["slice"]) == [2, 6, 7, 10]
    np.testing.assert_allclose(table["value"], [0, 0, 20 * 0.49, 0])  # pixels of 7 mm
    assert table["id"].iloc[0] == "ircadb-7-2" and table["image"].iloc[0] == "3Dircadb1.7/PATIENT_DICOM"
    read = cohort(table, tmp_path, "liver", grid=bm.scans.Grid((48, 48), (7.0, 7.0)))
    np.testing.assert_allclose(outlined(read, 0.49), read.values, rtol=1e-6)


def test_ircadb_asks_for_the_inner_zip_files_to_be_unpacked(tmp_path):
    (tmp_path / "3Dircadb1.1").mkdir()
    (tmp_path / "3Dircadb1.1/PATIENT_DICOM.zip").write_bytes(b"")
    with pytest.raises(ScanError, match="PATIENT_DICOM: unpack the zip file beside it"):
        datasets.ircadb(tmp_path, progress=False)


MORE = {"tcia": {"values": {"a": 1}}, "orcascore": {"converted": "unused"}}


@pytest.mark.parametrize("name", datasets.__all__)
def test_a_folder_with_another_layout_is_named_with_the_layout_expected(name, tmp_path):
    adapter = partial(getattr(datasets, name), **MORE.get(name, {}))
    (tmp_path / "something").mkdir()
    with pytest.raises(ScanError, match="it should hold "):
        adapter(tmp_path, progress=False)
    with pytest.raises(ScanError, match="there is no folder .*nowhere"):
        adapter(tmp_path / "nowhere", progress=False)


def test_paths_begin_at_the_root_or_are_whole(tmp_path):
    assert relative(tmp_path / "a/b.nii", tmp_path) == "a/b.nii"
    assert relative(tmp_path / "b.nii", tmp_path / "a") == (tmp_path / "b.nii").as_posix()


# --- fat -------------------------------------------------------------------------------------------------


def fat_labels() -> np.ndarray:
    """12 slices with subcutaneous tissue of 10 x 4 pixels (10 cm2) in each, thoracic cavity from slice 6 on."""
    labels = np.zeros((12, 48, 48), np.uint8)
    labels[:, 16:26, 8:12] = 1
    labels[6:, 20:30, 20:30] = 4
    return labels


def test_saros_takes_only_slices_annotated_throughout(tmp_path):
    regions = np.full((12, 48, 48), 255, np.uint8)
    regions[[0, 5, 7, 10]] = fat_labels()[[0, 5, 7, 10]]
    regions[5, 0, 0] = 255  # annotated in part
    regions[10, 16:18, 8:12] = 0  # 8 cm2
    for n in (0, 7, 8):
        nifti(tmp_path / f"data/case_{n:03d}/image.nii.gz", chest())
        nifti(tmp_path / f"data/case_{n:03d}/body-regions.nii.gz", regions if n < 8 else np.full_like(regions, 255))
    (tmp_path / "Segmentation Info.csv").write_text("id,split,other\ncase_000,fold-1,x\ncase_008,test,x\n")
    table = datasets.saros(tmp_path, masks=tmp_path / "masks", progress=False)
    assert list(table["id"]) == ["saros-case_000-0", "saros-case_000-7", "saros-case_000-10"]
    assert list(table["value"]) == [10, 10, 8] and set(table["split"]) == {"fold-1"}
    aside = table.attrs["set_aside"]
    assert "0 rows for 'case_007'" in aside["case_007"] and "none is annotated" in aside["case_008"]
    read = cohort(table, tmp_path, "sfa", grid=bm.scans.Grid((48, 48), (5.0, 5.0)))
    np.testing.assert_allclose(outlined(read, PIXEL_CM2), read.values)
    assert list(datasets.saros(tmp_path, chest=True, progress=False)["slice"]) == [7, 10]


def test_totalsegmentator_takes_the_masks_as_they_lie(tmp_path):
    top = tmp_path / "Totalsegmentator_dataset_v201"
    for n in (0, 1):
        nifti(top / f"s000{n}/ct.nii.gz", chest())
    nifti(top / "s0001/tissue_types/subcutaneous_fat.nii.gz", (fat_labels() == 1).astype(np.uint8))
    (top / "meta.csv").write_text("image_id;age;split\ns0000;50;train\ns0001;60;test\n")
    table = datasets.totalsegmentator(tmp_path, every_mm=10, progress=False)
    assert list(table["slice"]) == [0, 5, 10] and list(table["value"]) == [10] * 3
    assert set(table["split"]) == {"test"} and "subcutaneous_fat.nii.gz" in table.attrs["set_aside"]["s0000"]
    assert table["mask"].iloc[0] == "Totalsegmentator_dataset_v201/s0001/tissue_types/subcutaneous_fat.nii.gz"
    read = cohort(table, tmp_path, "sfa", grid=bm.scans.Grid((48, 48), (5.0, 5.0)))
    np.testing.assert_allclose(outlined(read, PIXEL_CM2), read.values)
    (top / "meta.csv").unlink()
    assert "split" not in datasets.totalsegmentator(top, progress=False)


# --- calcium ---------------------------------------------------------------------------------------------

# 1 mm pixels, slices 3 mm apart; the corner of the first voxel in LPS mm.
CORNER = (-24.0, -24.0, -30.0)


def region(name: str, corners: list[tuple[float, float]], k: int) -> dict:
    """A region as the files have it."""
    return {
        "Name": name,
        "NumberOfPoints": len(corners),
        "Point_px": [f"({x:f}, {y:f})" for x, y in corners],
        "Point_mm": [f"({CORNER[0] + x:f}, {CORNER[1] + y:f}, {CORNER[2] + 3 * k:f})" for x, y in corners],
    }


def coca(root: Path, regions: dict[str, list[tuple[int, list[dict]]]]) -> Path:
    """Patients of 4 slices, named from head to feet, with calcium of 4 x 3 pixels in slice 0 and 2 x 2 in slice 2.

    Args:
        root: Where to.
        regions: For each patient (image index, regions of that slice); a patient with an empty list has no file.
    """
    top = root / "cocacoronarycalciumandchestcts-2/Gated_release_final"
    for patient, images in regions.items():
        for k in range(4):
            hu = body_hu(k)
            if k == 0:
                hu[20:23, 10:14] = 250
            if k in (0, 2):
                hu[30:32, 30:32] = 450
            position = (*CORNER[:2], CORNER[2] + 3 * k)
            slice_ = ct_slice(hu, position, PixelSpacing=["1", "1"], SliceThickness="3")
            save(slice_, top / f"patient/{patient}/Pro_Gated_CS_3.0 70%/IM-{3 - k:04d}.dcm")
        if images:
            xml = {"Images": [{"ImageIndex": k, "NumberOfROIs": len(rois), "ROIs": rois} for k, rois in images]}
            (top / "calcium_xml").mkdir(exist_ok=True)
            (top / f"calcium_xml/{patient}.xml").write_bytes(plistlib.dumps(xml))
    return root


BOX = [(9.5, 19.5), (13.5, 19.5), (13.5, 22.5), (9.5, 22.5)]  # round the 12 pixels
SPOT = [(30, 30), (31, 30), (31, 31), (30, 31)]  # through the centres of the 4 pixels


def test_coca_scores_every_region_on_its_own_slice(tmp_path):
    lad, rca = region("Left Anterior Descending Artery", BOX, 0), region("Right Coronary Artery", SPOT, 0)
    empty = region("Left Coronary Artery", [], 0)
    root = coca(
        tmp_path,
        {
            # Two regions and an empty one in slice 0, one in slice 2 under a wrong index.
            "10": [(0, [lad, rca, empty]), (1, [region("Left Circumflex Artery ", SPOT, 2)])],
            "2": [],
        },
    )
    table = datasets.coca_gated(root, masks=root / "masks", progress=False)
    assert list(table["id"]) == ["coca-gated-2", "coca-gated-10"]
    # 12 mm2 of 250 HU count twice, two times 4 mm2 of 450 HU four times.
    assert list(table["value"]) == [0, 12 * 2 + 2 * 4 * 4]
    drawn = np.asanyarray(nib.load(root / "masks/coca-gated-10.nii.gz").dataobj)
    assert drawn.sum(axis=(1, 2)).tolist() == [16, 0, 4, 0] and drawn[0, 20:23, 10:14].all()
    read = cohort(table, root, "cac", crop=False, grid=bm.scans.Grid((4, 48, 48), (3.0, 1.0, 1.0)))
    assert [np.count_nonzero(read.regions(i)[1]) for i in range(2)] == [0, 20]
    np.testing.assert_allclose(read.truth.sum(axis=(1, 2, 3)), read.values)


def test_coca_sets_aside_what_it_cannot_place(tmp_path):
    lifted = region("Right Coronary Artery", SPOT, 0)
    lifted["Point_mm"] = [point.replace("-30.0", "-28.5") for point in lifted["Point_mm"]]
    mirrored = region("Right Coronary Artery", SPOT, 0) | {"Point_px": ["(17, 30)", "(16, 30)", "(16, 31)", "(17, 31)"]}
    root = coca(
        tmp_path,
        {
            "0": [(0, [region("Aorta", BOX, 0)])],
            "1": [(0, [lifted])],
            "2": [(0, [mirrored])],
            "3": [(0, [region("Right Coronary Artery", SPOT, 0)])],
            "4": [(0, [{"Name": "x"}])],
        },
    )
    xml = root / "cocacoronarycalciumandchestcts-2/Gated_release_final/calcium_xml"
    (xml / "4.xml").write_text("<plist>")
    table = datasets.coca_gated(root / "cocacoronarycalciumandchestcts-2", progress=False)
    aside = table.attrs["set_aside"]
    assert list(table["id"]) == ["coca-gated-3"] and list(aside) == ["0", "1", "2", "4"]
    assert "'Aorta'" in aside["0"] and "no slice" in aside["1"] and "elsewhere" in aside["2"]
    assert "no property list" in aside["4"]
    xml.rename(xml.with_name("elsewhere"))  # a missing folder is not a set without calcium
    with pytest.raises(ScanError, match="holds no calcium_xml"):
        datasets.coca_gated(root, progress=False)


def test_an_outline_holds_the_centres_inside_and_on_it():
    triangle = filled(np.array([(1.0, 1), (5, 1), (1, 5)]), (8, 9))
    rows, columns = np.indices((8, 9))
    np.testing.assert_array_equal(triangle, (rows >= 1) & (columns >= 1) & (rows + columns <= 6))
    assert filled(np.array([(3.0, 2)]), (8, 9)).sum() == 1
    # Concave, and partly outside the image.
    u = np.array([(-2.5, -0.5), (0.5, -0.5), (0.5, 3.5), (2.5, 3.5), (2.5, -0.5), (4.5, -0.5), (4.5, 6.5), (-2.5, 6.5)])
    expected = (rows <= 6) & (columns <= 4) & ~((rows <= 3) & (columns >= 1) & (columns <= 2))
    np.testing.assert_array_equal(filled(u, (8, 9)), expected)


def test_coca_nongated_joins_sheet_and_folders(tmp_path):
    top = tmp_path / "deidentified_nongated"
    for n in (1, 2, 5, 10):
        series(top / f"{n}/{n}")
    sheet = {"filename ": ["1A", "2A", "3A", "10A"], "LCA": 0, "LAD": [0, 7, 1, 2], "LCX": 0, "RCA": 0}
    pd.DataFrame(sheet | {"total": [0, 7.5, 1, "?"]}).to_excel(top / "scores.xlsx", index=False)
    table = datasets.coca_nongated(tmp_path, progress=False)
    assert list(table["id"]) == ["coca-nongated-1", "coca-nongated-2"] and list(table["value"]) == [0, 7.5]
    assert table["image"].iloc[0] == "deidentified_nongated/1/1"
    aside = table.attrs["set_aside"]
    assert list(aside) == ["3", "5", "10"]
    assert "0 folders" in aside["3"] and "0 rows" in aside["5"] and "'?'" in aside["10"]


def metaimage(path: Path, data: np.ndarray, kind: str, *more: str) -> None:
    """Write an array (D, H, W) as MetaImage, on 1 mm pixels and slices 3 mm apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    d, h, w = data.shape
    lines = ["ObjectType = Image", "NDims = 3", f"DimSize = {w} {h} {d}", f"ElementType = {kind}", *more]
    lines += ["ElementSpacing = 1 1 3", "Offset = -24 -24 -30", f"ElementDataFile = {path.stem}.raw"]
    path.write_text("\n".join(lines))
    raw = data.tobytes()
    path.with_suffix(".raw").write_bytes(zlib.compress(raw) if "CompressedData = True" in more else raw)


def test_orcascore_converts_and_scores_the_three_arteries(tmp_path):
    hu, labels = chest(4), np.zeros((4, 48, 48), np.uint8)
    hu[0, 20:23, 10:14], labels[0, 20:23, 10:14] = 250, 1
    hu[2, 30:32, 30:32], labels[2, 30:32, 30:32] = 450, 3
    hu[3, 30:32, 30:32], labels[3, 30:32, 30:32] = 450, 4
    train = tmp_path / "Challenge_data/Training_set"
    for patient in ("TRV1P1", "TRV1P10"):
        metaimage(train / f"Images/{patient}CTI.mhd", hu, "MET_SHORT", "TransformMatrix = 1 0 0 0 1 0 0 0 1")
        metaimage(train / f"Images/{patient}CTAI.mhd", hu, "MET_SHORT")
        metaimage(train / f"Reference_standard/{patient}R.mhd", labels, "MET_UCHAR", "CompressedData = True")
    metaimage(tmp_path / "Challenge_data/Test_set/Images/TEV1P1CTI.mhd", hu, "MET_SHORT")
    metaimage(train / "Images/TRV2P1CTI.mhd", hu[:3], "MET_SHORT", "DimSize = 48 48 4")
    metaimage(train / "Reference_standard/TRV2P1R.mhd", labels, "MET_UCHAR")
    table = datasets.orcascore(tmp_path, tmp_path / "nifti", progress=False)
    assert list(table["id"]) == ["orcascore-TRV1P1", "orcascore-TRV1P10"] and list(table["value"]) == [40, 40]
    scan = bm.scans.read(tmp_path / table["image"].iloc[0])
    np.testing.assert_array_equal(scan.hu, hu)
    assert scan.spacing_mm == (3, 1, 1) and scan.affine[:3, 3].tolist() == [24, 24, -30]
    read = cohort(table, tmp_path, "cac", crop=False, grid=bm.scans.Grid((4, 48, 48), (3.0, 1.0, 1.0)))
    np.testing.assert_allclose(read.truth.sum(axis=(1, 2, 3)), read.values)
    aside = table.attrs["set_aside"]
    assert "0 reference files" in aside["TEV1P1"] and "damaged" in aside["TRV2P1"]


def test_a_packed_raw_file_that_holds_more_less_or_other_bytes_is_set_aside(tmp_path):
    hu, labels = chest(4), np.zeros((4, 48, 48), np.uint8)
    hu[0, 20:23, 10:14], labels[0, 20:23, 10:14] = 250, 1
    packed = zlib.compress(labels.tobytes())
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(400)) + packer.flush()
    raws = {"a": (packed, "48 48 4"), "b": (bomb, "48 48 4"), "c": (packed, "48 48 5"), "d": (packed[:-2], "48 48 4")}
    raws |= {"e": (packed[:-1] + b"!", "48 48 4"), "f": (packed, "32000 32000 3"), "g": (packed, "48 48 0")}
    for patient, (raw, size) in raws.items():
        metaimage(tmp_path / f"{patient}CTI.mhd", hu, "MET_SHORT")
        metaimage(tmp_path / f"{patient}R.mhd", labels, "MET_UCHAR", "CompressedData = True")
        header = tmp_path / f"{patient}R.mhd"
        header.write_text(header.read_text().replace("48 48 4", size))
        header.with_suffix(".raw").write_bytes(raw)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    table = datasets.orcascore(tmp_path, tmp_path / "nifti", progress=False)
    assert list(table["id"]) == ["orcascore-a"] and list(table["value"]) == [24]
    assert list(table.attrs["set_aside"]) == list("bcdefg")
    assert all("damaged or no 3-D MetaImage volume" in reason for reason in table.attrs["set_aside"].values())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


# --- series by patient -----------------------------------------------------------------------------------


def test_tcia_takes_the_largest_ct_series_below_each_folder_named(tmp_path):
    series(tmp_path / "100012/1999/a-thick", (0, 2, 4))
    series(tmp_path / "100012/1999/b-thin", (0, 2, 4, 6))
    series(tmp_path / "100012/2000/c", (0, 2, 4), SeriesInstanceUID="1.2.3")
    series(tmp_path / "100013/1999/xray", (0, 2, 4, 6), Modality="DX")
    series(tmp_path / "100014/1999/scout", (0,))
    (tmp_path / "metadata.csv").write_text("x")
    values = {"100012": 31.5, "100012/2000": 30, "100013": 1, "100014": 1, "100015": 1}
    table = datasets.tcia(tmp_path, values, least_slices=3, progress=False)
    assert table["image"].tolist() == ["100012/1999/b-thin", "100012/2000/c"]
    assert table["id"].tolist() == ["100012", "100012-2000"] and set(table["group"]) == {"100012"}
    aside = table.attrs["set_aside"]
    assert "modality DX" in aside["100013"] and "at least 3 files" in aside["100014"]
    assert "there is no folder" in aside["100015"]
    assert list(cohort(table, tmp_path, "pma").values) == [31.5, 30]


# --- one odd file stops no set ---------------------------------------------------------------------------


def test_a_volume_without_a_number_has_the_name_of_its_file(tmp_path):
    root = msd(tmp_path, (3,)) / "Task03_Liver"
    for kind, data in (("images", chest()), ("labels", liver_labels())):
        nifti(root / f"{kind}Tr/liver_final.nii.gz", data)
    assert set(datasets.msd_liver(root, progress=False)["group"]) == {"msd-3", "msd-final"}


def test_what_a_parser_raises_of_one_file_sets_it_aside(tmp_path):
    def rows(case):
        return [{"id": case, "image": "x", "value": 1 / case, "group": "g"}] if case < 9 else [][case]

    made = datasets.table.table(rows, {"a": 1, "b": 0, "c": 9}, "a set", progress=False)
    assert made["id"].tolist() == [1]
    assert made.attrs["set_aside"]["b"] == "it is damaged (ZeroDivisionError: division by zero)"
    assert made.attrs["set_aside"]["c"].startswith("it is damaged (IndexError:")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image_id;split\ns0001;train;x;y\ns1;a;b\n", "is no table"),
        ("", "is no table"),
        ("image_id;split\ns0001;train\ns0001;test\n", "meta.csv has 2 rows for 's0001'"),
        ("image_id\ns0001\n", "has 0 columns 'split'"),
    ],
)
def test_a_table_that_is_not_the_downloads_is_said(tmp_path, text, words):
    labels = fat_labels()
    nifti(tmp_path / "s0001/ct.nii.gz", np.zeros(labels.shape, np.int16))
    (tmp_path / "meta.csv").write_text(text)
    with pytest.raises(ScanError, match=words) as error:
        datasets.totalsegmentator(tmp_path, progress=False)
    assert "meta.csv" in str(error.value) and "\n" not in str(error.value)


def test_scores_that_stand_twice_are_no_score(tmp_path):
    top = tmp_path / "deidentified_nongated"
    for n in ("1", "2"):
        series(top / n / "x")
    sheet = pd.DataFrame({"filename ": ["1A", "2A", "2"], "total": [3, 5, 6]})
    sheet.to_excel(top / "scores.xlsx", index=False)
    table = datasets.coca_nongated(tmp_path, progress=False)
    assert table["value"].tolist() == [3] and "scores.xlsx has 2 rows" in table.attrs["set_aside"]["2"]
    sheet.assign(Total=sheet["total"]).to_excel(top / "scores.xlsx", index=False)
    with pytest.raises(ScanError, match="2 columns 'total', in whatever letters"):
        datasets.coca_nongated(tmp_path, progress=False)
