"""
Saving, loading and resuming a training
=======================================

`save` writes a fitted detector to a file without code: opening the file executes
nothing, and damage is detected. With `checkpoint=`, a fit that was killed resumes where
it was, and ends with the same scores as an uninterrupted fit.
"""

# %%
# Benign tumours are normal. We train on 257 of them, and score the others and all
# malignant ones.
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer

import skanogan
from skanogan import OCGANDetector
from skanogan.exceptions import ModelFileError

X, y = load_breast_cancer(return_X_y=True)
benign, malignant = X[y == 1], X[y == 0]
train, test = benign[:257], np.concatenate([benign[257:], malignant])
folder = tempfile.TemporaryDirectory()

detector = OCGANDetector(max_iter=600, random_state=0).fit(train)
path = Path(folder.name) / "detector.safetensors"
detector.save(path)
opened = skanogan.load(path)

scores, scores_of_opened = detector.score_samples(test), opened.score_samples(test)
print(f"{path.stat().st_size / 1e6:.1f} MB, {opened}")
print(f"largest difference of a score: {np.abs(scores_of_opened - scores).max()}")

# %%
# In each of 300 copies of the file, one random bit is flipped. None of the copies
# opens, because the file contains a digest of its contents.
content = path.read_bytes()
rng = np.random.default_rng(0)
refused, damaged = 0, path.with_name("damaged.safetensors")
for position, bit in zip(rng.integers(len(content), size=300), range(300), strict=True):
    changed = bytearray(content)
    changed[position] ^= 1 << bit % 8
    damaged.write_bytes(changed)
    try:
        skanogan.load(damaged)
    except ModelFileError as error:
        refused, last = refused + 1, error
reason = str(last).replace(folder.name, "")
print(f"refused: {refused} of 300. The last one because:\n{reason}")

# %%
# The next training runs in another process. We kill this process shortly after it has
# written its first checkpoint.
np.save(Path(folder.name) / "train.npy", train)
script = """
import numpy as np
from skanogan import OCGANDetector
OCGANDetector(max_iter=600, random_state=0, checkpoint="fit.checkpoint").fit(
    np.load("train.npy")
)
"""
checkpoint = Path(folder.name) / "fit.checkpoint"
process = subprocess.Popen([sys.executable, "-c", script], cwd=folder.name)
while process.poll() is None and not checkpoint.exists():
    time.sleep(0.01)
time.sleep(0.5)
process.kill()
print("ended by signal", -process.wait())

# %%
# The same fit with the same checkpoint file resumes the training. It ends with the same
# scores.
resumed = OCGANDetector(max_iter=600, random_state=0, checkpoint=checkpoint).fit(train)
difference = np.abs(resumed.score_samples(test) - scores).max()
print(f"largest difference of a score from the fit that was not killed: {difference}")

# %%
# Left: the scores of the opened file equal those of the fitted detector to the last
# bit. Right: the error on held-out rows during the training, which two processes have
# computed, equals that of the uninterrupted training.
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
is_benign = np.arange(len(test)) < len(benign) - 257
for mask, name, marker, colour in (
    (~is_benign, "malignant", "v", "#a8320b"),
    (is_benign, "benign, new", "o", "#8fb8e0"),
):
    left.plot(
        -scores[mask], -scores_of_opened[mask], marker, color=colour, ms=4, label=name
    )
ends = np.array([scores.min(), scores.max()])
left.plot(-ends, -ends, color="k", lw=0.6, zorder=0)
left.set(xlabel="anomaly score, as fitted")
left.set(ylabel="anomaly score, from the file", title="Saved and opened")
left.legend()
curves = [
    np.array([(r["n_iter"], r["validation_error"]) for r in d.history_])
    for d in (detector, resumed)
]
right.plot(*curves[0].T, color="#8fb8e0", lw=5, label="uninterrupted")
right.plot(*curves[1].T, ".-", color="#a8320b", lw=1, label="killed and resumed")
right.set(xlabel="updates", ylabel="error on held-out rows", title="Training")
right.legend()
plt.show()
folder.cleanup()
