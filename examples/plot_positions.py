"""
Defects in textures: features of a network
==========================================

A network describes each small part of an image by features. `PositionDetector` learns
the features of normal images with any detector of tables, scores images, and marks
defects on them. The network is not trained here, and nothing is downloaded.
"""

# %%
# The images are simulated: woven cloth, printed dots and brushed metal, each shifted at
# random. A thread or a dot may be missing, metal may have a scratch, and each texture
# may have a stain. For every pixel it is known whether it is defective. There are 16
# normal images of each texture to learn from. We test 4 images with defects and 8
# without.
import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from torch import nn

from skanogan import AnoGANDetector
from skanogan.baselines import KNNDistance, MahalanobisDistance, PCAReconstruction
from skanogan.features import NetworkFeatures
from skanogan.image import PositionDetector

SIZE = 128
rows, columns = np.mgrid[:SIZE, :SIZE]


def texture(rng, kind, defect=None):
    """Simulate an image (uint8) and the mask of its defective pixels."""
    down, right = rng.randint(0, 16, size=2)
    top, left = rng.randint(40, 88, size=2)
    row, column = rows + down, columns + right
    found = np.zeros((SIZE, SIZE), bool)
    if kind == "cloth":
        over = (row // 7 + column // 7) % 2 == 0
        threads = np.sin(np.pi * row / 7) ** 2, np.sin(np.pi * column / 7) ** 2
        if defect == "missing thread":
            found = over & (row // 7 == top // 7) & (abs(columns - left) < 20)
        image = 60 + 110 * np.where(over & ~found, *threads)
    elif kind == "dots":
        image = np.full((SIZE, SIZE), 190.0)
        dots = np.hypot(row % 15 - 7, column % 15 - 7) < 5
        if defect == "missing dot":
            found = dots & (row // 15 == top // 15) & (column // 15 == left // 15)
        image -= 110 * gaussian_filter((dots & ~found).astype(float), 1)
    else:
        streaks = gaussian_filter(rng.normal(size=(SIZE, SIZE)), (0.7, 6))
        image = 140 + 16 * streaks / streaks.std()
        if defect == "scratch":
            slope = rng.uniform(0.3, 1.2)
            along = (rows - top) * np.sin(slope) + (columns - left) * np.cos(slope)
            across = (rows - top) * np.cos(slope) - (columns - left) * np.sin(slope)
            found = (abs(along) < 18) & (abs(across) < 1.5)
            image = image + 45 * gaussian_filter(found.astype(float), 0.7)
    if defect == "stain":
        found = np.hypot(rows - top, (columns - left) * rng.uniform(0.7, 1.4)) < 9
        image = image * (1 - 0.35 * gaussian_filter(found.astype(float), 1.5))
    image = image * rng.uniform(0.95, 1.05) + rng.normal(0, 4, size=image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), found


DEFECTS = {"cloth": "missing thread", "dots": "missing dot", "metal": "scratch"}
rng = np.random.RandomState(0)
normal, images, truth = {}, {}, {}
for kind, defect in DEFECTS.items():
    normal[kind] = [texture(rng, kind)[0] for _ in range(16)]
    contents = [defect, "stain"] * 2 + [None] * 8
    pairs = [texture(rng, kind, content) for content in contents]
    images[kind], truth[kind] = map(np.stack, zip(*pairs, strict=True))

# %%
# The baseline is a network with random weights: three convolutions. A network that was
# trained on photographs is passed in the same way, and the :doc:`guide </features>` has
# recipes. It usually does better on photographs. These textures are too easy to show
# it.
#
# The weights are drawn from a generator of their own, so the global state of torch
# does not change.
convolutions = [
    nn.utils.skip_init(nn.Conv2d, 1, 32, 5, stride=2, padding=2),
    nn.utils.skip_init(nn.Conv2d, 32, 32, 3, stride=2, padding=1),
    nn.utils.skip_init(nn.Conv2d, 32, 32, 3, stride=2, padding=1),
]
generator = torch.Generator().manual_seed(0)
with torch.no_grad():
    for layer in convolutions:
        scale = (2 / layer.weight[0].numel()) ** 0.5
        layer.weight.normal_(0, scale, generator=generator)
        layer.bias.normal_(0, 0.1, generator=generator)
first, second, third = convolutions
network = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)

# %%
# The features are the outputs of the three convolutions at 16 x 16 positions, side by
# side: 96 numbers for each position. A detector learns them as rows of a table.
#
# We take the outputs before each ReLU. Those after it are zero for most positions, and
# an untrained GAN ranked images by chance with them.
#
# Convolutions pad images with zeros, so features at the border look anomalous. A mask
# leaves out the outermost positions. As it is a function, scores and maps use it too.
# 16 images are too few to hold some out for the threshold, so it is set by
# `contamination`.
features = NetworkFeatures(
    network, ["0", "2", "4"], pooling=None, grid_size=16, mean=0.5, std=0.25
)


def without_border(image):
    return np.pad(np.ones((SIZE - 32, SIZE - 32), bool), 16)


settings = {
    "max_positions": 2000,
    "smoothing": 4,
    "contamination": 0.05,
    "random_state": 0,
}
detector = PositionDetector(MahalanobisDistance(), features, **settings)
detector.fit(normal["cloth"], masks=without_border)
decision = detector.decision_function(images["cloth"])
found = detector.anomaly_map(images["cloth"][0])
print(f"decisions: {decision.round(2)}")
print(f"a map: {found.shape}, from {found.min():.1f} to {found.max():.1f}")

# %%
# We compare detectors by the AUROC of images and of pixels. There are two baselines
# without features. "each pixel" is the deviation of a pixel from its mean over normal
# images, divided by its standard deviation. "PCA of pixels" takes the 64 pixels of each
# block of 8 x 8 as its features. The border never counts.
blocks = NetworkFeatures(nn.PixelUnshuffle(8), pooling=None, mean=0.5, std=0.25)
compared = {
    "PCA of pixels": (PCAReconstruction(), blocks),
    "MahalanobisDistance": (MahalanobisDistance(), features),
    "AnoGANDetector": (
        AnoGANDetector(max_iter=0, n_candidates=256, random_state=0),
        features,
    ),
    "KNNDistance": (KNNDistance(n_neighbors=1), features),
}


def each_pixel(kind):
    """Return scores and maps by the deviation of each pixel."""
    spread = np.std(normal[kind], axis=0) + 1
    maps = abs(images[kind] - np.mean(normal[kind], axis=0)) / spread
    inside = np.sort(maps[:, 16:-16, 16:-16].reshape(len(maps), -1), axis=1)
    return -inside[:, -len(inside[0]) // 100 :].mean(axis=1), maps


def print_figures(name, scores, maps):
    figures = []
    for kind in DEFECTS:
        is_good = ~truth[kind].any(axis=(1, 2))
        of_images = roc_auc_score(is_good, scores[kind])
        of_pixels = roc_auc_score(
            truth[kind][:, 16:-16, 16:-16].ravel(),
            np.array(maps[kind])[:, 16:-16, 16:-16].ravel(),
        )
        figures += [of_images, of_pixels]
    figures += [np.mean(figures[::2]), np.mean(figures[1::2])]
    print(f"{name:20}" + "".join(f"{figure:7.3f}" for figure in figures))


print(f"{'AUROC':20}" + "".join(f"{name:>14}" for name in [*DEFECTS, "mean"]))
print(" " * 20 + "  image  pixel" * 4)
print_figures(
    "each pixel", *({kind: each_pixel(kind)[i] for kind in DEFECTS} for i in (0, 1))
)
fitted, maps = {}, {}
for name, (estimator, transformer) in compared.items():
    detector = PositionDetector(estimator, transformer, **settings)
    fitted[name] = {
        kind: clone(detector).fit(normal[kind], masks=without_border)
        for kind in DEFECTS
    }
    scores = {kind: d.score_samples(images[kind]) for kind, d in fitted[name].items()}
    maps[name] = {
        kind: list(d.anomaly_maps(images[kind])) for kind, d in fitted[name].items()
    }
    print_figures(name, scores, maps[name])

# %%
# Regular textures without their borders are easy: PCA of pixels finds nearly all
# defects of cloth and dots. Features describe the random streaks of metal better.
#
# `reconstruct` returns the closest normal features at each position, for detectors that
# find closest normal rows. The squared distance between them and the features of an
# image shows what is not normal about it.
#
# The figure has the first image with each defect. Marked is the 1 % of pixels with the
# highest values of the map.
by_distance, by_reconstruction = fitted["MahalanobisDistance"], fitted["AnoGANDetector"]
figure, axes = plt.subplots(3, 4, figsize=(9, 6), layout="constrained")
for row_of_axes, (kind, defect) in zip(axes, DEFECTS.items(), strict=True):
    image, true = images[kind][0], truth[kind][0]
    found = by_distance[kind].anomaly_map(image)
    detector = by_reconstruction[kind]
    (described,) = detector.features_.transform([image])
    closest = detector.reconstruct(image)
    distance = np.square(described - closest).sum(axis=2)[2:-2, 2:-2]

    for ax in row_of_axes[[0, 2]]:
        ax.imshow(image, cmap="gray", vmin=0, vmax=255)
    row_of_axes[1].imshow(found, "magma")
    row_of_axes[3].set(xlim=(0, SIZE), ylim=(SIZE, 0), facecolor="black")
    marked = found > np.quantile(found, 0.99)
    row_of_axes[2].contour(marked, [0.5], colors="#ffb000", linewidths=1.5)
    row_of_axes[2].contour(true, [0.5], colors="#8fb8e0", linewidths=1.5)
    row_of_axes[3].imshow(distance, "magma", extent=(16, SIZE - 16, SIZE - 16, 16))
    row_of_axes[0].set_ylabel(f"{kind}: {defect}", fontsize=12)
titles = "image", "map", "found, true (blue)", "from closest normal"
for ax, title in zip(axes[0], titles, strict=True):
    ax.set_title(title, fontsize=12)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
plt.show()
