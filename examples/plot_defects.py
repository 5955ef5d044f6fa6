"""
Defects in photographs: patches, masks, maps
============================================

Photographs of an inspection camera are larger than the input of the networks and differ
in size, and the part fills only some of each photograph. `PatchDetector` learns from
patches of good parts, scores photographs and marks defects on them.
"""

# %%
# The photographs are simulated: discs of brushed metal on a dark table. Bad parts have
# a scratch, a dent or a stain. For every pixel it is known whether it is defective.
import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import binary_erosion, binary_fill_holes, gaussian_filter
from sklearn.metrics import roc_auc_score

from skanogan import OCGANDetector
from skanogan.image import PatchDetector


def photograph(rng, defect=None):
    """Simulate a part (uint8) and the mask of its defective pixels."""
    height, width = rng.randint(120, 150, size=2)
    rows, columns = np.mgrid[:height, :width]
    from_centre = np.hypot(rows - height / 2, columns - width / 2)
    disc = gaussian_filter((from_centre < 55).astype(float), 1)
    streaks = gaussian_filter(rng.normal(size=(height, width)), (0.7, 6))
    metal = 150 + 14 * streaks / streaks.std()
    angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(5, 30)
    row, column = height / 2 + away * np.sin(angle), width / 2 + away * np.cos(angle)
    slope = rng.uniform(-0.8, 0.8) + np.pi / 2  # scratches cross the streaks
    along = (rows - row) * np.sin(slope) + (columns - column) * np.cos(slope)
    across = (rows - row) * np.cos(slope) - (columns - column) * np.sin(slope)
    if defect == "scratch":
        depth = 80 * np.exp(-np.square(across / 1.2)) * (abs(along) < 14)
    elif defect == "dent":
        depth = 70 * (across / 5) * np.exp(-(along**2 + across**2) / 50)
    elif defect == "stain":
        depth = 60 * gaussian_filter((along**2 + across**2 < 40).astype(float), 2)
    else:
        depth = np.zeros_like(metal)
    image = disc * (metal - depth) + rng.normal(12, 2, size=metal.shape)
    return np.clip(image, 0, 255).astype(np.uint8), abs(depth) > 8


rng = np.random.RandomState(0)
good = [photograph(rng)[0] for _ in range(30)]
kinds = np.array([*["good"] * 12, *["scratch", "dent", "stain"] * 3])
images, defects = zip(*(photograph(rng, kind) for kind in kinds), strict=True)
is_good = kinds == "good"


# %%
# Only pixels of the part count. We pass a function that finds the part. It is called
# for each photograph, in `fit` and when photographs are scored. 30 photographs are too
# few to hold some out for the threshold, so it is set by `contamination`.
def on_the_part(image):
    bright = gaussian_filter(image.astype(float), 2) > 80
    return binary_erosion(binary_fill_holes(bright), iterations=4)


detector = PatchDetector(
    OCGANDetector(backbone="mlp", latent_dim=32, max_iter=500, random_state=0),
    patch_size=16,
    stride=4,
    patches_per_image=100,
    min_coverage=0.9,
    pooling_size=10,
    contamination=0.05,
    random_state=0,
).fit(good, masks=on_the_part)

decision = detector.decision_function(images)
print(f"{detector.n_patches_} patches of 16 x 16 from {len(good)} photographs")
print(f"AUROC of photographs: {roc_auc_score(is_good, decision):.3f}")
print(f"good ones flagged:    {(decision[is_good] < 0).sum()} of {is_good.sum()}")
print(f"bad ones found:       {(decision[~is_good] < 0).sum()} of {(~is_good).sum()}")

# %%
# A map has the size of its photograph. It blends the residuals of overlapping patches.
# The AUROC of pixels measures how well it ranks the pixels of the parts.
maps = [detector.anomaly_map(image) for image in images]
inside = [
    np.isfinite(found) & on_the_part(im) for found, im in zip(maps, images, strict=True)
]
values = np.concatenate([found[m] for found, m in zip(maps, inside, strict=True)])
truth = np.concatenate([mark[m] for mark, m in zip(defects, inside, strict=True)])
print(f"AUROC of pixels:      {roc_auc_score(truth, values):.3f}")

# %%
# The photograph with the lowest score of each kind, including the good ones.
figure, axes = plt.subplots(3, 4, figsize=(9, 6.6), layout="constrained")
vmax, marked = np.quantile(values, 0.9995), np.quantile(values[~truth], 0.998)
for column, kind in zip(axes.T, ("scratch", "dent", "stain", "good"), strict=True):
    at = min(np.flatnonzero(kinds == kind), key=lambda i: decision[i])
    verdict = "anomaly" if decision[at] < 0 else "normal"
    column[0].imshow(images[at], cmap="gray", vmin=0, vmax=255)
    column[0].set_title(f"{kind}: {verdict}")
    found = np.where(inside[at], maps[at], 0)
    shown = column[1].imshow(found, "magma", vmax=vmax)
    column[2].imshow(images[at], cmap="gray", vmin=0, vmax=255)
    column[2].contour(defects[at], [0.5], colors="#8fb8e0", linewidths=1)
    column[2].contour(found > marked, [0.5], colors="#ffb000", linewidths=1)
for ax, label in zip(axes[:, 0], ("photograph", "map", "found, and true"), strict=True):
    ax.set_ylabel(label)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
figure.colorbar(shown, ax=axes[1], label="residual, 1 is half the range", shrink=0.9)
plt.show()
