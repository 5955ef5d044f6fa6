"""
Data on disk
============

A NumPy array in a mapped file is read only where needed: `fit` reads the batches that
it trains on, and scores are computed chunk by chunk. Memory and the time per row do not
grow with the file. To be quick, this page writes a file of 4 MB. With ten million
``N_ROWS`` it would be 2 GB, and nothing else changes.
"""

# %%
# The file has 20,000 rows of 50 columns, written block by block. In the last quarter,
# one row in twenty has a fault: eight of its columns have the wrong sign.
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from skanogan import OCGANDetector

N_ROWS, N_COLUMNS, BLOCK = 20_000, 50, 2_500
N_GOOD = 3 * N_ROWS // 4

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "log.npy"
rng = np.random.default_rng(0)
mixing = rng.normal(size=(10, N_COLUMNS))
log = np.lib.format.open_memmap(path, "w+", np.float32, (N_ROWS, N_COLUMNS))
is_fault = np.zeros(N_ROWS, dtype=bool)
for start in range(0, N_ROWS, BLOCK):
    block = rng.normal(size=(BLOCK, 10)) @ mixing + rng.normal(size=(BLOCK, N_COLUMNS))
    faults = np.flatnonzero(rng.random(BLOCK) < 0.05 * (start >= N_GOOD))
    block[faults, :8] = -block[faults, :8]
    is_fault[start + faults] = True
    log[start : start + BLOCK] = block
log.flush()
del log

# %%
# `mmap_mode="r"` opens the file without reading it.
X = np.load(path, mmap_mode="r")
print(f"{X.nbytes / 1e6:.0f} MB on disk, {type(X).__name__} of {X.dtype}")

detector = OCGANDetector(random_state=0)
started = time.perf_counter()
detector.fit(X[: N_GOOD // 2])
print(f"fit on {N_GOOD // 2:,} rows: {time.perf_counter() - started:.1f} s")

# %%
# The number of rows in a chunk depends on the networks: their activations need more
# memory than the rows themselves.
floats = detector.model_.floats_per_row
print(f"{floats:,} numbers per row, {64 * 2**20 // (8 * floats):,} rows in 64 MiB")

for n in (2_000, N_ROWS):
    started = time.perf_counter()
    decision = detector.decision_function(X[-n:])
    microseconds = (time.perf_counter() - started) / n * 1e6
    print(f"{n:6,} rows: {microseconds:5.1f} microseconds a row")

# %%
# The last call scored the whole file. The figure shows where rows are flagged, and
# whether they have a fault.
flagged = decision < 0
print(
    f"false alarms {flagged[~is_fault].mean():.1%}, "
    f"faults found {flagged[is_fault].mean():.1%}"
)
stretches = np.arange(0, N_ROWS + 1, N_ROWS // 20)
middles, width = stretches[:-1] + stretches[1] / 2, 0.8 * stretches[1]
no_fault, fault = (
    np.histogram(np.flatnonzero(mask), stretches)[0] / stretches[1] * 100
    for mask in (flagged & ~is_fault, flagged & is_fault)
)
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
ax.axvspan(0, N_GOOD // 2, color="0.93", zorder=0)
ax.bar(middles, no_fault, width, color="#8fb8e0", label="without a fault")
ax.bar(middles, fault, width, no_fault, color="#a8320b", label="with a fault")
ax.axhline(5, color="k", ls="--", lw=1, label="5 %")
top = 1.2 * (no_fault + fault).max()
ax.annotate("trained on", (N_GOOD // 4, 0.9 * top), ha="center")
ax.set(xlabel="row of the file", ylabel="rows flagged, %", xlim=(0, N_ROWS))
ax.set(title="The whole file scored", ylim=(0, top))
ax.xaxis.set_major_formatter("{x:,.0f}")
ax.legend(loc="upper center", bbox_to_anchor=(0.57, 1))
plt.show()

del X
folder.cleanup()
