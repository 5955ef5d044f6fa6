"""
Saving, loading, and a training that is killed
==============================================

A detector that took minutes to train is worth a file. `save` writes one that holds no
code: opening it executes nothing, and a byte that was changed is noticed. `checkpoint=`
is for the minutes themselves: a fit that was killed goes on where it was, and ends with
the scores that it would have had.
"""

# %%
# Benign tumours are normal. 257 of them are learned from; the others, and all that are
# malignant, are scored.
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
# In 300 copies of the file one bit is flipped, anywhere. None of them opens: the file
# carries a digest of all that it says.
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
# Now a training in a process of its own, which is killed (`kill -9`, or no power) when
# its file of checkpoints has been there for a moment.
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
# The same fit, of the same rows, with the same file: it does not begin anew. `history_`
# shows which part of the training it did itself: clocks differ, nothing else does.
resumed = OCGANDetector(max_iter=600, random_state=0, checkpoint=checkpoint).fit(train)
difference = np.abs(resumed.score_samples(test) - scores).max()
print(f"largest difference of a score from the fit that was not killed: {difference}")

# %%
# Scores span three orders of magnitude, and lie on the diagonal to the last bit. On the
# right, the error on rows held out of the training: one line, drawn by two processes.
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
left.set(xscale="log", yscale="log", xlabel="anomaly score, as fitted")
left.set(ylabel="anomaly score, from the file", title="Saved and opened")
left.legend()
curves = [
    np.array([(r["n_iter"], r["validation_error"]) for r in d.history_])
    for d in (detector, resumed)
]
right.plot(*curves[0].T, color="#8fb8e0", lw=5, label="in one go")
right.plot(*curves[1].T, ".-", color="#a8320b", lw=1, label="killed, and gone on with")
right.set(xlabel="updates", ylabel="error on held-out rows", title="A training, twice")
right.legend()
plt.show()
folder.cleanup()
