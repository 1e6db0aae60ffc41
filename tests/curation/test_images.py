"""Bytes to pixels: what is refused, what is converted, what hashes say."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from curation.kernel import images
from curation.kernel.errors import ImageUnreadable
from tests import bad_images
from tests.bad_images import HEIGHT, WIDTH

ADVICE = {
    "truncated_jpeg": "send the whole file again",
    "truncated_png": "send the whole file again",
    "empty": "the file is empty",
    "not_an_image": "send one of JPEG, PNG",
    "bomb": "too many pixels",
    "one_pixel": "both sides must have 8 pixels",
    "ribbon": "at most 50 to 1",
}


@pytest.mark.parametrize("name", bad_images.BAD)
def test_a_bad_image_is_refused_with_its_name_and_advice(name: str) -> None:
    with pytest.raises(ImageUnreadable, match=ADVICE[name]) as refused:
        images.decode(bad_images.BAD[name](), name="/secret/folder/frame.jpg")

    assert str(refused.value).startswith("frame.jpg: ")
    assert refused.value.code == "image_unreadable"


@pytest.mark.parametrize("name", bad_images.ODD)
def test_an_odd_image_becomes_rgb(name: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.suffix"
    file.write_bytes(bad_images.ODD[name]())

    pixels = images.load(file)

    upright = (WIDTH, HEIGHT) if name == "rotated_by_exif" else (HEIGHT, WIDTH)
    assert pixels.shape == (*upright, 3)
    assert pixels.dtype == np.uint8
    assert images.size_of(file.read_bytes()) == upright[::-1]


def test_a_bomb_below_pillows_own_bound_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(ImageUnreadable, match="8000x8000 is over 50000000 pixels"):
        images.decode(bad_images.bomb(8000, 8000))


def test_sides_are_read_without_a_pixel() -> None:
    """The pixels are not there: reading any would be an error."""
    assert images.size_of(bad_images.bomb(8000, 4000)) == (8000, 4000)
    assert images.size_of(bad_images.truncated_png()) == (320, 240)


def test_the_orientation_of_a_png_counts() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = bad_images.saved(bad_images.picture(), "PNG", exif=exif)

    assert images.size_of(data) == (HEIGHT, WIDTH)
    assert images.decode(data).shape == (WIDTH, HEIGHT, 3)


def test_grey_has_three_equal_channels() -> None:
    pixels = images.decode(bad_images.grey())

    np.testing.assert_array_equal(pixels[..., 0], pixels[..., 2])
    np.testing.assert_array_equal(pixels[..., 0], np.asarray(bad_images.picture(3).convert("L")))


def test_ink_becomes_light() -> None:
    pixels = images.decode(bad_images.cmyk()).astype(int)

    assert np.abs(pixels - np.asarray(bad_images.picture(4), int)).mean() < 8


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    row = images.decode(bad_images.sixteen_bit())[0, :, 0].astype(int)

    np.testing.assert_allclose(row, np.linspace(0, 255, WIDTH), atol=1)


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_floats_are_scaled_by_the_range_they_use(top: float) -> None:
    ramp = np.tile(np.linspace(0, top, WIDTH, dtype=np.float32), (HEIGHT, 1))
    row = images.decode(bad_images.saved(Image.fromarray(ramp), "TIFF"))[0, :, 0].astype(int)

    np.testing.assert_allclose(row, np.linspace(0, 255, WIDTH), atol=1)


def test_a_nearly_black_picture_of_sixteen_bits_stays_so() -> None:
    dark = np.zeros((HEIGHT, WIDTH), np.uint16)
    dark[0] = 1

    assert images.decode(bad_images.saved(Image.fromarray(dark), "PNG")).max() == 0


def test_the_first_frame_of_an_animation_counts() -> None:
    pixels = images.decode(bad_images.animated_gif())

    assert pixels.reshape(-1, 3).max(axis=0).tolist() == [255, 0, 0]


def test_a_picture_on_its_side_is_turned_upright() -> None:
    pixels = images.decode(bad_images.rotated_by_exif()).astype(int)

    turned = np.rot90(np.asarray(bad_images.picture(5), int), -1)
    assert np.abs(pixels - turned).mean() < 4


def test_transparency_is_laid_over_black() -> None:
    pixels = images.decode(bad_images.palette_with_alpha())

    assert not pixels[:, : WIDTH // 2].any()
    assert (pixels[:, WIDTH // 2 :] == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P"])
def test_every_mode_of_a_png_is_read(mode: str) -> None:
    data = bad_images.saved(bad_images.picture().convert(mode), "PNG")

    assert images.decode(data).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("image_format", "suffix"),
    [("PNG", ".png"), ("JPEG", ".jpg"), ("WEBP", ".webp"), ("BMP", ".bmp"), ("TIFF", ".tif")],
)
def test_the_content_decides_the_suffix(image_format: str, suffix: str) -> None:
    data = bad_images.saved(bad_images.picture(), image_format)

    assert images.suffix_of(data, "frame.gif") == suffix


def test_a_file_of_several_jpegs_is_a_jpeg() -> None:
    assert images.suffix_of(bad_images.multi_picture()) == ".jpg"


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(
        [
            bad_images.jpeg,
            bad_images.png,
            bad_images.animated_gif,
            bad_images.rotated_by_exif,
            lambda: bad_images.saved(bad_images.picture(), "TIFF", compression="tiff_lzw"),
            lambda: bad_images.saved(bad_images.picture(), "WEBP"),
        ]
    ),
    st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=12),
    st.floats(0.01, 1),
)
def test_damaged_bytes_are_pixels_or_one_clear_error(
    build: Callable[[], bytes], damage: list[tuple[float, int]], kept: float
) -> None:
    data = bytearray(build())
    for place, value in damage:
        data[int(place * len(data))] = value
    for read in (images.decode, images.size_of, images.suffix_of):
        try:
            read(bytes(data[: int(kept * len(data))]))
        except ImageUnreadable as error:
            assert str(error).startswith("image: ")  # noqa: PT017


def test_a_lossless_copy_is_the_same_picture(photo) -> None:
    np.testing.assert_array_equal(images.decode(images.encode_png(photo)), photo)


def test_perceptual_hashes_of_copies_are_near_and_of_strangers_far(photo) -> None:
    recoded = images.decode(images.encode_jpeg(photo, quality=40))
    smaller = np.asarray(Image.fromarray(photo).resize((200, 200)))
    hashed = images.perceptual_hash(photo)

    assert 0 <= hashed < 2**64
    assert images.hamming(hashed, images.perceptual_hash(recoded)) <= 4
    assert images.hamming(hashed, images.perceptual_hash(smaller)) <= 6
    assert images.hamming(hashed, images.perceptual_hash(photo[:, ::-1].copy())) > 12


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_hamming_counts_differing_bits(first: int, second: int) -> None:
    digits = zip(f"{first:064b}", f"{second:064b}", strict=True)

    assert images.hamming(first, second) == sum(a != b for a, b in digits)


def test_the_id_of_an_image_is_the_hash_of_its_file() -> None:
    assert images.content_hash(b"") == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


def test_what_is_encoded_says_its_format(photo) -> None:
    with Image.open(io.BytesIO(images.encode_jpeg(photo))) as opened:
        assert opened.format == "JPEG"


def test_a_png_says_what_it_was_given_to_say_and_shows_the_same() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    data = images.encode_png(pixels, {"who": "compose", "what": '{"seed": 3}'})
    assert images.png_texts(data) == {"who": "compose", "what": '{"seed": 3}'}
    assert images.png_texts(images.encode_png(pixels)) == {}
    assert images.png_texts(images.encode_jpeg(pixels)) == {}
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)
    with pytest.raises(ImageUnreadable, match="no picture"):
        images.png_texts(b"no picture at all")
