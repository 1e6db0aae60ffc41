"""Region vectors: one pass an image, masked means, the same region wherever it lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from curation.embedding.embed import (
    CellScheme,
    RegionEmbedder,
    box_mask,
    cells,
    mask_weights,
    pool_regions,
)
from curation.embedding.encoder import TimmEncoder, _build, _folded
from curation.kernel.errors import EncoderMismatch
from curation.kernel.types import ImageArray, Region


@pytest.fixture(scope="module")
def encoder() -> TimmEncoder:
    return TimmEncoder()


def photographs() -> list[ImageArray]:
    grey = np.asarray(data.brick(), np.uint8)
    return [data.astronaut(), data.coffee(), data.chelsea(), np.stack([grey] * 3, 2)]


def region(mask: np.ndarray, weight: float = 1.0) -> Region:
    return Region(mask, np.zeros_like(mask), weight, -weight, (0,), (0, 0, 1, 1))


def test_pooling_is_the_mean_of_the_map_under_the_mask() -> None:
    rng = np.random.default_rng(0)
    features = torch.tensor(rng.normal(size=(6, 4, 5)), dtype=torch.float32)
    masks, rings = np.zeros((2, 8, 10), np.bool_), np.zeros((2, 8, 10), np.bool_)
    masks[0, 0:4, 0:6] = True
    masks[1, 3:5, 3:5] = True  # a quarter of each of four cells
    rings[0, 4:8, :] = True
    found = pool_regions(features, masks, rings)
    plain = features.numpy().astype(np.float64)
    means = [plain[:, 0:2, 0:3].mean((1, 2)), plain[:, 1:3, 1:3].mean((1, 2))]
    below = plain[:, 2:4, :].mean((1, 2))
    unit = [mean / np.linalg.norm(mean) for mean in (*means, below)]
    assert found[0] == pytest.approx(np.r_[unit[0], unit[2]] / 2**0.5, abs=1e-5)
    assert found[1] == pytest.approx(np.r_[unit[1], np.zeros(6)], abs=1e-5)


def test_mask_weights_sum_to_one_or_nothing() -> None:
    masks = np.zeros((2, 16, 16), np.bool_)
    masks[0, 3:9, 1:15] = True
    weights = mask_weights(masks, (4, 4))
    assert weights.sum(1).tolist() == pytest.approx([1, 0])
    assert mask_weights(masks[:0], (4, 4)).shape == (0, 16)


def test_an_image_has_the_same_vectors_alone_and_in_a_batch(encoder: TimmEncoder) -> None:
    embedder, images = RegionEmbedder(encoder), photographs()
    together = embedder.embed_pool(images)
    for image, embedded in zip(images, together, strict=True):
        alone = embedder.embed_pool([image])[0]
        assert alone.vectors == pytest.approx(embedded.vectors, abs=1e-4)
        assert alone.whole == pytest.approx(embedded.whole, abs=1e-4)
        assert np.linalg.norm(alone.vectors, axis=1) == pytest.approx(1, abs=1e-5)
        assert alone.vectors.shape == (len(alone.boxes_xyxy), embedder.width)
        limits = [image.shape[1], image.shape[0]] * 2
        assert (alone.boxes_xyxy >= 0).all()
        assert (alone.boxes_xyxy <= np.array(limits) + 1e-3).all()
    assert embedder.embed_pool([]) == []


def test_folded_normalisation_changes_no_map(encoder: TimmEncoder) -> None:
    plain, *_ = _build("tf_efficientnet_lite0", "package", (3, 4))
    assert sum(isinstance(layer, torch.nn.BatchNorm2d) for layer in plain.modules()) > 20
    folded = encoder._model
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in folded.modules())
    inputs = torch.cat([encoder._warp(image) for image in photographs()])
    inputs = (inputs - encoder._mean) / encoder._std
    with torch.inference_mode():
        for expected, found in zip(plain.eval()(inputs), folded(inputs), strict=True):
            # far below the half precision that vectors are stored in
            assert float((expected - found).abs().max()) < 1e-4 * float(expected.abs().max())


def test_normalisation_that_does_not_fold_is_kept() -> None:
    class Elsewhere(torch.nn.Module):
        """Its normalisation comes before the convolution that it is registered after."""

        def __init__(self) -> None:
            super().__init__()
            self.convolution = torch.nn.Conv2d(3, 3, 3, padding=1)
            self.normalisation = torch.nn.BatchNorm2d(3)

        def forward(self, inputs: torch.Tensor) -> list[torch.Tensor]:
            return [self.convolution(self.normalisation(inputs))]

    model = Elsewhere().eval()
    model.normalisation.running_var.fill_(9.0)
    assert _folded(model, (8, 8)) is model


def test_a_region_finds_itself_in_the_right_photograph(encoder: TimmEncoder) -> None:
    embedder, images = RegionEmbedder(encoder), photographs()
    pool = embedder.embed_pool(images)
    mask = np.zeros((192, 256), np.bool_)
    mask[40:80, 90:140] = True
    mean = np.concatenate([item.vectors for item in pool]).mean(0)
    for row, image in enumerate(images):
        mirrored = np.ascontiguousarray(image[:, ::-1])  # as a new photograph of the same
        query = embedder.embed_failures(mirrored, [(0, 0, 9, 9)], [[region(mask[:, ::-1])]])[0]
        best = [float(((query.vectors - mean) @ (item.vectors - mean).T).max()) for item in pool]
        assert int(np.argmax(best)) == row


def test_a_failure_without_regions_still_has_its_object(encoder: TimmEncoder) -> None:
    embedder, image = RegionEmbedder(encoder), data.coffee()
    found = embedder.embed_failures(image, [(10, 20, 200, 220), (0, 0, 1, 1)], [[], []])
    assert found[0].vectors.shape == (0, embedder.width)
    assert found[0].object_vector.shape == (embedder.width,)
    assert not np.allclose(found[0].object_vector, found[1].object_vector)
    assert found[0].whole.shape == (embedder.whole_width,)


def test_cells_cover_the_image_and_their_rings_do_not_overlap_them() -> None:
    masks, rings, boxes = cells((192, 256), CellScheme())
    assert masks.any(0).all()
    assert not (masks & rings).any()
    assert rings.any((1, 2)).all()
    assert ((boxes[:, 2:] > boxes[:, :2]) & (boxes <= 1)[:, 2:]).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)


def test_a_box_outside_the_grid_becomes_its_nearest_cell() -> None:
    mask, ring = box_mask((-5, -5, 0.2, 0.2), (100, 200), (50, 100), 0.1)
    assert mask.sum() == 1
    assert ring.any()
    mask, _ = box_mask((20, 10, 60, 30), (100, 200), (50, 100), 0.1)
    assert mask.sum() == 10 * 20


def test_versions_tell_weights_and_configuration_apart(encoder: TimmEncoder) -> None:
    random = TimmEncoder(weights="random")
    versions = {
        encoder.version,
        random.version,
        TimmEncoder(weights="random", input_size_hw=(96, 128)).version,
        TimmEncoder(weights="random", stages=(3,)).version,
    }
    assert len(versions) == 4
    assert TimmEncoder(weights="random").version == random.version
    embedders = {
        RegionEmbedder(random).version,
        RegionEmbedder(random, CellScheme(ring=0.2)).version,
    }
    assert len(embedders | versions) == 6


def test_a_state_dict_from_a_file_is_the_same_encoder(tmp_path: Path) -> None:
    import timm

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    torch.save(model.state_dict(), tmp_path / "own.pt")
    renamed = {f"x{n}": tensor for n, tensor in enumerate(model.state_dict().values())}
    torch.save(renamed, tmp_path / "renamed.pt")
    own = TimmEncoder(weights=str(tmp_path / "own.pt"))
    assert own.version == TimmEncoder(weights=str(tmp_path / "renamed.pt")).version


def test_foreign_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "few.pt")
    with pytest.raises(EncoderMismatch, match="1 tensors"):
        TimmEncoder(weights=str(tmp_path / "few.pt"))
    torch.save({f"x{n}": torch.zeros(3) for n in range(296)}, tmp_path / "other.pt")
    with pytest.raises(EncoderMismatch, match="conv_stem"):
        TimmEncoder(weights=str(tmp_path / "other.pt"))
    with pytest.raises(FileNotFoundError):
        TimmEncoder(weights=str(tmp_path / "absent.pt"))
