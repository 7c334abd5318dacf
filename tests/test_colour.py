"""Colour profiles, JPEGs that are cut off, and what decoders have to say about damaged files."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from miniature import jpeg
from numpy.typing import NDArray
from PIL import Image
from preprocessing import content, fails, preprocess

from alexnet_cli.cli import main
from alexnet_cli.decoders import colour_manager, heif_version, reader_of
from alexnet_cli.pictures import BadPictureError, Facts, crop_of

needs_colours = pytest.mark.skipif(colour_manager() is None, reason="no Pillow here manages colours")

# Linear RGB to XYZ under D50, by columns of the primaries (Lindbloom's tables).
SRGB = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
ADOBE = np.array(
    [[0.6097559, 0.2052401, 0.1492240], [0.3111242, 0.6256560, 0.0632197], [0.0194811, 0.0608902, 0.7448387]]
)
PROPHOTO = np.array([[0.7976749, 0.1351917, 0.0313534], [0.2880402, 0.7118741, 0.0000857], [0.0, 0.0, 0.8252100]])
# From the primaries of SMPTE EG 432-1, from D65 to D50 by Bradford's matrix; so Apple's own profile has it.
DISPLAY_P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
GAMMA = 563 / 256
"""Adobe RGB's, as ICC's u8Fixed8 has it."""
SRGBS = (
    b"para"
    + bytes(4)
    + struct.pack(
        ">HH5i", 3, 0, *(round(65536 * value) for value in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
    )
)
"""sRGB's curve, as ICC's parametric one of kind 3."""


def icc(matrix: NDArray[np.float64], gamma: float = GAMMA, space: bytes = b"RGB ", curve: bytes | None = None) -> bytes:
    """A display profile of three primaries and one curve (ICC.1:2001)."""

    def xyz(values: Any) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = curve or b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"text\0\0\0\0none\0\0\0\0"
    desc = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(8 + 3 + 67 + 1)
    tags = {b"desc": desc, b"cprt": text, b"wtpt": xyz((0.9642, 1.0, 0.8249))}
    if space == b"RGB ":
        tags |= {name + b"XYZ": xyz(matrix[:, at]) for at, name in enumerate((b"r", b"g", b"b"))}
        tags |= {name + b"TRC": curve for name in (b"r", b"g", b"b")}
    else:
        tags |= {b"kTRC": curve}
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    rest = struct.pack(">I", len(tags)) + table + body
    head = struct.pack(">I4sI4s4s4s", 128 + len(rest), b"test", 0x02100000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(24)
    head += struct.pack(">I", 1) + xyz((0.9642, 1.0, 0.8249))[8:]  # relative colorimetric, D50
    return head + bytes(128 - len(head)) + rest


def in_srgb(values: NDArray[np.uint8], matrix: NDArray[np.float64], gamma: float = GAMMA) -> NDArray[np.float64]:
    """By the definitions, in float64: to linear light, to XYZ, to linear sRGB, to sRGB's curve (IEC 61966-2-1)."""
    return in_srgb_of_light((values / 255.0) ** gamma, matrix)


def in_srgb_of_light(light: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    light = (light @ (np.linalg.inv(SRGB) @ matrix).T).clip(0, 1)
    coded: NDArray[np.float64] = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return 255 * coded


def saved(image: Any, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def colours(mode: str = "RGB") -> Any:
    """256×256: 16×16 patches of 16 pixels, so that no scaling happens."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    small = np.random.default_rng(7).integers(0, 256, (16, 16, channels), np.uint8)
    return Image.fromarray(small.repeat(16, 0).repeat(16, 1).squeeze(), mode)


@needs_colours
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_a_profile_is_applied_as_the_definitions_say(kind: str) -> None:
    image = colours()
    lossless: dict[str, dict[str, Any]] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    reader = reader_of(kind)
    assert reader is not None
    picture = reader.image.fromarray(np.asarray(image))
    data = saved(picture, kind, icc_profile=icc(ADOBE), **lossless.get(kind, {}))
    plain, facts = crop_of(data)
    converted, converted_facts = crop_of(data, colour_profile="convert")
    assert (facts, converted_facts) == (Facts.NONE, Facts.CONVERTED)
    expected = in_srgb(plain, ADOBE)
    assert np.abs(converted - expected).max() <= 3  # 8-bit tables, steep near black
    assert np.abs(converted - expected).mean() < 0.6
    assert np.abs(plain.astype(int) - converted).max() > 20


@needs_colours
@pytest.mark.parametrize("space", ["Adobe RGB", "Display P3", "ProPhoto", "sRGB"])
def test_wide_gamuts_become_srgb_to_within_rounding(space: str) -> None:
    """Against the published matrices in float64, colours beyond sRGB's clipped, as a display shows them."""
    light = np.arange(256) / 255
    srgbs = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    matrix, profile, curve = {
        "Adobe RGB": (ADOBE, icc(ADOBE), light**GAMMA),
        "Display P3": (DISPLAY_P3, icc(DISPLAY_P3, curve=SRGBS), srgbs),
        "ProPhoto": (PROPHOTO, icc(PROPHOTO, 1.8), light ** (461 / 256)),
        "sRGB": (SRGB, icc(SRGB, curve=SRGBS), srgbs),
    }[space]
    data = saved(colours(), icc_profile=profile)
    plain = crop_of(data)[0]
    converted = crop_of(data, colour_profile="convert")[0]
    assert np.abs(converted - in_srgb_of_light(curve[plain], matrix)).max() < 0.8
    assert (np.abs(plain.astype(int) - converted).max() > 20) == (space != "sRGB")


@needs_colours
def test_the_profile_of_jpeg_2000_is_applied_too() -> None:
    reader = reader_of("JPEG2000")
    assert reader is not None
    data = saved(reader.image.fromarray(np.asarray(colours())), "JPEG2000")
    at = data.index(b"jp2h") - 4
    end = at + int.from_bytes(data[at : at + 4])
    own = b"\2\0\0" + icc(ADOBE)  # method 2: a profile, in place of the number of sRGB
    old = data.index(b"colr") - 4
    inner = data[at + 8 : old] + struct.pack(">I4s", 8 + len(own), b"colr") + own
    inner += data[old + int.from_bytes(data[old : old + 4]) : end]
    data = data[:at] + struct.pack(">I4s", 8 + len(inner), b"jp2h") + inner + data[end:]
    plain, _ = crop_of(data)
    assert (plain == np.asarray(colours())).all()
    assert np.abs(crop_of(data, colour_profile="convert")[0] - in_srgb(plain, ADOBE)).max() < 0.8


@pytest.mark.skipif(heif_version() is None, reason="needs the extra heif")
@needs_colours
def test_the_profile_of_heic_is_applied_too() -> None:
    from pillow_heif import from_bytes

    file = io.BytesIO()
    image = from_bytes("RGB", (256, 256), colours().tobytes())
    image.save(file, quality=-1, chroma=444, icc_profile=icc(ADOBE))
    plain, _ = crop_of(file.getvalue())
    assert np.abs(plain.astype(int) - np.asarray(colours())).max() <= 2
    assert np.abs(crop_of(file.getvalue(), colour_profile="convert")[0] - in_srgb(plain, ADOBE)).max() < 0.8


@needs_colours
def test_channels_that_a_profile_names_otherwise_change_places() -> None:
    data = saved(colours(), icc_profile=icc(SRGB[:, ::-1]))
    expected = in_srgb(crop_of(data)[0], SRGB[:, ::-1])
    converted, _ = crop_of(data, colour_profile="convert")
    assert np.abs(converted - expected).max() <= 3


@needs_colours
def test_grey_transparent_and_palette_pictures_have_profiles_too() -> None:
    grey = saved(colours("L"), icc_profile=icc(SRGB, space=b"GRAY"))
    values = crop_of(grey)[0]
    converted, facts = crop_of(grey, colour_profile="convert")
    assert facts == Facts.GREYSCALE | Facts.CONVERTED
    assert np.abs(converted - in_srgb(values, SRGB)).max() <= 3
    clear = colours("RGBA")
    clear.putalpha(Image.new("L", clear.size, 128))
    shown = saved(clear, icc_profile=icc(ADOBE))
    own = np.asarray(clear)[..., :3]
    over_white = (in_srgb(own, ADOBE) * 128 + 255 * 127) / 255
    assert np.abs(crop_of(shown, colour_profile="convert")[0] - over_white).max() <= 3
    palette = colours().quantize(64)
    data = saved(palette, icc_profile=icc(ADOBE))
    assert np.abs(crop_of(data, colour_profile="convert")[0] - in_srgb(crop_of(data)[0], ADOBE)).max() <= 3


@needs_colours
@pytest.mark.parametrize("profile", [b"", b"no profile", icc(SRGB)[:200], icc(SRGB, 2.2, b"GRAY")])
def test_a_profile_that_cannot_be_used_changes_nothing(profile: bytes) -> None:
    data = saved(colours(), icc_profile=profile)
    with_it, without = crop_of(data, colour_profile="convert"), crop_of(data)
    assert with_it[0].tobytes() == without[0].tobytes()
    assert with_it[1] == without[1]


@needs_colours
def test_the_store_says_how_colours_were_read(tmp_path: Path) -> None:
    for name, seed in (("ape", 1), ("bat", 2)):
        (tmp_path / "in" / name).mkdir(parents=True)
        data = saved(colours(), icc_profile=icc(ADOBE)) if seed == 1 else jpeg(2)
        (tmp_path / "in" / name / "a.png").write_bytes(data)
    preprocess(tmp_path / "in", tmp_path / "a.lmdb")
    done = preprocess(tmp_path / "in", tmp_path / "b.lmdb", colour_profile="convert")
    again = preprocess(tmp_path / "in", tmp_path / "b.lmdb", colour_profile="convert", update=True)
    other = preprocess(tmp_path / "in", tmp_path / "b.lmdb", update=True)
    assert done.facts["converted"] == 1
    assert again.up_to_date and not other.up_to_date
    assert content(tmp_path / "a.lmdb") == content(tmp_path / "b.lmdb")


# JPEGs that are cut off


def coarse(progressive: bool = False) -> bytes:
    pixels = np.random.default_rng(3).integers(0, 256, (40, 40, 3), np.uint8).repeat(12, 0).repeat(12, 1)
    return saved(Image.fromarray(pixels), "JPEG", quality=90, progressive=progressive)


def test_of_a_jpeg_that_is_cut_off_what_is_there_is_kept() -> None:
    data = coarse()
    whole, _ = crop_of(data)
    for part in (0.3, 0.6, 0.95):
        cut = data[: int(part * len(data))]
        with pytest.raises(BadPictureError, match="is truncated"):
            crop_of(cut)
        kept, facts = crop_of(cut, truncated="keep")
        assert facts == Facts.TRUNCATED
        rows = int(256 * part)
        assert np.abs(kept[: rows - 16].astype(int) - whole[: rows - 16]).max() <= 1, part
        below = kept[rows + 24 :]
        assert below.size == 0 or np.ptp(below) <= 2  # one grey
    assert crop_of(data[:-2], truncated="keep")[0].tobytes() == whole.tobytes()
    rough, _ = crop_of(coarse(True)[: len(data) // 2], truncated="keep")
    assert np.ptp(rough[-20:]) > 50  # a progressive one is there to its last row


def test_of_damage_inside_a_jpeg_only_the_rest_is_wrong() -> None:
    data = coarse()
    whole, _ = crop_of(data)
    at = len(data) // 2
    damaged = data[:at] + bytes(20) + data[at + 20 :]
    crop, facts = crop_of(damaged)
    assert facts == Facts.NONE
    assert np.abs(crop[:100].astype(int) - whole[:100]).max() <= 1
    assert np.abs(crop[140:].astype(int) - whole[140:]).max() > 50


@pytest.mark.parametrize("end", [3, 300, coarse().index(b"\xff\xda") + 14])
def test_a_jpeg_of_which_nothing_is_there_is_rejected_still(end: int) -> None:
    with pytest.raises(BadPictureError, match="is truncated"):
        crop_of(coarse()[:end], truncated="keep")


def test_only_jpegs_are_kept_in_part() -> None:
    png = saved(colours())
    with pytest.raises(BadPictureError, match="is truncated"):
        crop_of(png[: len(png) // 2], truncated="keep")


def test_kept_pictures_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("ape", "bat"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "a.jpg").write_bytes(coarse())
    (tmp_path / "in/ape/a.jpg").write_bytes(coarse()[:-1000])
    code, line = fails(capsys, tmp_path / "in", "--out", tmp_path / "a.lmdb")
    assert code == 3 and "ape/a.jpg: is truncated" in line
    words = [str(tmp_path / "in"), "--out", str(tmp_path / "a.lmdb"), "--truncated", "keep", "--workers", "1"]
    assert main(["preprocess", *words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["truncated"], result["rejected"]) == (1, 0)
    assert "Truncated: 1 (the decoded part of a JPEG is stored, with grey for the rest)" in (
        tmp_path / "a.lmdb/report.txt"
    ).read_text(encoding="utf-8")


# What libraries say


def noisy() -> bytes:
    """A TIFF at whose pixels libtiff complains."""
    reader = reader_of("TIFF")
    assert reader is not None
    pixels = np.random.default_rng(1).integers(0, 256, (280, 300, 3), np.uint8)
    data = bytearray(saved(reader.image.fromarray(pixels), "TIFF", compression="tiff_lzw"))
    data[2000:2100] = b"\xff" * 100
    return bytes(data)


@pytest.mark.parametrize("workers", [1, 2])
def test_libraries_noise_never_reaches_the_terminal(workers: int, tmp_path: Path) -> None:
    for number in range(24):
        folder = tmp_path / "in" / f"class{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(jpeg(number))
    (tmp_path / "in/class0/bad.tif").write_bytes(noisy())
    crop = "import sys; from alexnet_cli.pictures import *; crop_of(read_picture(sys.argv[1]))"
    alone = [sys.executable, "-c", crop, str(tmp_path / "in/class0/bad.tif")]
    heard = subprocess.run(alone, capture_output=True, text=True, check=False).stderr
    assert "not yet in table" in heard, "the test's own file is quiet: it shows nothing"
    command = [sys.executable, "-m", "alexnet_cli", "preprocess", str(tmp_path / "in"), "--workers", str(workers)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "a.lmdb")], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 3
    lines = done.stderr.splitlines()
    assert not any("not yet in table" in line for line in lines)
    assert sum("bad.tif: can't be decoded" in line for line in lines) == 1
    assert any("pictures to crop" in line for line in lines), "messages of our own still arrive"
