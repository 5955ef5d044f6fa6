"""
Scores on a Dask cluster
========================

Rows on several machines are scored where they are: the detector is sent to the workers
once, and only requested results are sent back. Here the cluster is two workers in this
process. For a real cluster, change only the line with ``Client``.
"""

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np

from skanogan import AnoGANDetector

try:
    import dask.array as da
    from dask.distributed import Client
except ImportError:
    print('This example needs Dask: pip install "skanogan[distributed]"')
    sys.exit(0)

from skanogan.distributed import decision_function

client = Client(
    processes=False, n_workers=2, threads_per_worker=1, dashboard_address=None
)

# %%
# The data are readings of ten sensors over twelve hours, one block per hour, in the
# memory of the workers. From the ninth hour on, the third sensor drifts.
HOURS, N_HOUR = 12, 1_000
rows = da.random.default_rng(0).normal(size=(HOURS * N_HOUR, 10), chunks=(N_HOUR, 10))
mixing = np.linalg.qr(np.random.RandomState(0).normal(size=(10, 10)))[0]
mixing *= np.geomspace(3, 0.3, 10)[:, None]
hour = da.arange(HOURS * N_HOUR, chunks=N_HOUR) // N_HOUR
drift = 0.5 * da.maximum(hour - 7, 0)[:, None] * np.eye(10)[2]
X = (rows @ mixing + drift).persist()
print(X)

# %%
# We train on the first hour, which fits into memory. The scores of all rows are a lazy
# Dask array with the same blocks: nothing has been computed yet.
detector = AnoGANDetector(max_iter=200, device="cpu", random_state=0)
detector.fit(X.blocks[0].compute())
decision = decision_function(detector, X)
print(decision)

# %%
# Only twelve numbers are sent back. Fewer rows are flagged in the training hour than in
# the next hours, because the threshold is calibrated for new rows.
flagged = (decision < 0).reshape(HOURS, N_HOUR).mean(axis=1).compute()
print(np.round(100 * flagged, 1), "% of each hour")

# %%
# The scores equal those of the detector itself for the same rows.
block = X.blocks[9].compute()
difference = decision.blocks[9].compute() - detector.decision_function(block)
print(f"largest difference: {np.abs(difference).max():.1e}")
client.close()

figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
colours = ["0.6", *["#8fb8e0"] * 7, *["#a8320b"] * 4]
bars = axes.bar(np.arange(1, HOURS + 1), 100 * flagged, color=colours)
axes.axhline(5, color="k", ls="--", lw=1)
plain = {"facecolor": "w", "pad": 0.5, "lw": 0}
axes.bar_label(bars, fmt="%.0f", padding=2, bbox=plain)
axes.set(
    xlabel="hour (the first one was trained on)",
    ylabel="rows flagged, %",
    title="A sensor drifts from the ninth hour on",
    xticks=range(1, HOURS + 1),
)
axes.margins(y=0.1)
plt.show()
