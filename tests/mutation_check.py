"""Hand-made faults, one at a time: does the suite notice each?

    python tests/mutation_check.py            # all, some fifteen minutes on one core
    python tests/mutation_check.py 3 7        # these
    python tests/mutation_check.py --list     # only whether they can be applied

Each fault is put into a copy of the package, and the tests of the files named beside it
run on the copy until one fails. The exit status is 1 if a fault is missed, and 2 if its
code is not found exactly once or a test file does not exist.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]

ANOGAN, FANOGAN = "models/_anogan.py", "models/_fanogan.py"
GAN, OCGAN = "models/_gan.py", "models/_ocgan.py"
METRIC, SEARCH = "nn/_metric.py", "nn/_latent_search.py"
CHECKPOINT = "_training/checkpoint.py"

# What is broken, where, the code, the fault, and the test files that shall notice.
FAULTS = [
    (
        "score without its sign",
        "detectors/_row_methods.py",
        "scores = -self._in_chunks(",
        "scores = self._in_chunks(",
        "detectors/test_base test_common",
    ),
    (
        "threshold added",
        "detectors/_thresholds.py",
        "return scores - self.offset_",
        "return scores + self.offset_",
        "detectors/test_base test_common",
    ),
    (
        "zero is an outlier",
        "detectors/_thresholds.py",
        "np.where(in_numpy(decisions) < 0, -1, 1)",
        "np.where(in_numpy(decisions) <= 0, -1, 1)",
        "detectors/test_base detectors/test_thresholds",
    ),
    (
        "contamination from the other end",
        "detectors/_thresholds.py",
        "np.percentile(scores, 100 * float(",
        "np.percentile(scores, 100 - 100 * float(",
        "detectors/test_thresholds test_common",
    ),
    (
        "calibrated on rows that were trained on",
        "detectors/_base.py",
        "np.sort(parts.held_out) if calibrates else repeated(normal, weights)",
        "repeated(normal, weights)",
        "detectors/test_thresholds detectors/test_base",
    ),
    (
        "bounds for small samples without the row itself",
        "detectors/_thresholds.py",
        "math.sqrt(1 + 1 / n)",
        "math.sqrt(1 / n)",
        "detectors/test_thresholds",
    ),
    (
        "anomalies are trained on",
        "_data/labels.py",
        "return np.flatnonzero(labels == 1)",
        "return np.arange(len(labels))",
        "data/test_labels detectors/test_base test_bad_input",
    ),
    (
        "networks are not in eval mode",
        "models/_model.py",
        "self.eval().requires_grad_(False)",
        "self.requires_grad_(False)",
        "models/test_gan",
    ),
    (
        "lambda on the wrong term",
        ANOGAN,
        "return (1 - weight) * _absolute_sum(scaled - drawn) + weight * other",
        "return weight * _absolute_sum(scaled - drawn) + (1 - weight) * other",
        "models/test_anogan",
    ),
    (
        "mean where the paper sums",
        ANOGAN,
        "return differences.abs().flatten(1).sum(1)",
        "return differences.abs().flatten(1).mean(1)",
        "models/test_anogan",
    ),
    (
        "features of other rows in the search",
        ANOGAN,
        "torch.split(features, length)",
        "torch.split(features.flip(0), length)",
        "models/test_anogan detectors/test_parameters",
    ),
    (
        "the bank looked up in the first metric",
        ANOGAN,
        """"coordinates", self.metric.coordinates(drawn))""",
        """"coordinates", first.coordinates(drawn))""",
        "models/test_anogan",
    ),
    (
        "the farthest candidate",
        METRIC,
        "squared.topk(1, dim=1, largest=False)",
        "squared.topk(1, dim=1, largest=True)",
        "nn/test_metric",
    ),
    (
        "whitening of the wrong axis",
        METRIC,
        "rows @ rows.T if is_wide else rows.T @ rows",
        "rows @ rows.T if is_wide else rows.T @ (rows - rows.mean(1, keepdim=True))",
        "nn/test_metric",
    ),
    (
        "shrinkage left out",
        METRIC,
        "added = (shrinkage * mean + tiny).clamp(",
        "added = (0 * mean + tiny).clamp(",
        "nn/test_metric",
    ),
    (
        "search uphill",
        SEARCH,
        "value=-self._step_size",
        "value=self._step_size",
        "nn/test_latent_search",
    ),
    (
        "search without bias correction of the first moment",
        SEARCH,
        "first = self.first / (1 - self.decays[0])",
        "first = self.first",
        "nn/test_latent_search",
    ),
    (
        "search without bias correction of the second moment",
        SEARCH,
        "(self.second / (1 - self.decays[1])).sqrt_()",
        "self.second.sqrt()",
        "nn/test_latent_search",
    ),
    (
        "drawn rows taken for real ones",
        "nn/_losses.py",
        "F.softplus(-real_logits).mean() + F.softplus(drawn_logits).mean()",
        "F.softplus(real_logits).mean() + F.softplus(-drawn_logits).mean()",
        "nn/test_losses",
    ),
    (
        "gradients accumulate",
        "models/_model.py",
        "optimizer.zero_grad()",
        "pass",
        "models/test_gan",
    ),
    (
        "no average of the generator",
        GAN,
        "self._average.update(self.generator)",
        "pass",
        "models/test_gan",
    ),
    (
        "f-AnoGAN's kappa on pixels",
        FANOGAN,
        "_mean_squares(scaled - drawn) + weight * difference.square().mean(1)",
        "weight * _mean_squares(scaled - drawn) + difference.square().mean(1)",
        "models/test_fanogan detectors/test_fanogan",
    ),
    (
        "encoder trained with the sum over pixels, not their mean",
        FANOGAN,
        "return differences.square().flatten(1).mean(1)",
        "return differences.square().flatten(1).sum(1)",
        "models/test_gan",
    ),
    (
        "mining towards positives",
        OCGAN,
        "loss = softplus(classifier(decoder(points))).sum()",
        "loss = softplus(-classifier(decoder(points))).sum()",
        "models/test_ocgan",
    ),
    (
        "mined codes outside of the box",
        OCGAN,
        "points = moved.clamp(-1, 1)",
        "points = moved",
        "models/test_ocgan",
    ),
    (
        "noise scaled by its variance",
        OCGAN,
        "return noise * self.game.noise_variance**0.5",
        "return noise * self.game.noise_variance",
        "models/test_ocgan",
    ),
    (
        "maps one position aside",
        "nn/_feature_map.py",
        "first += step * ((layer.kernel_size[0] - 1) / 2 - int(layer.padding[0]))",
        "first += step * (layer.kernel_size[0] / 2 - int(layer.padding[0]))",
        "detectors/test_anomaly_map",
    ),
    (
        "reconstructions on the networks' scale",
        "nn/_scaling.py",
        "scaled.to(self.shift.dtype) * self.scale + self.shift",
        "scaled.to(self.shift.dtype) * self.scale",
        "nn/test_scaling models/test_gan",
    ),
    (
        "the last state, not the best",
        "_training/loop.py",
        "if error is None or error < progress.least:",
        "if True:",
        "training/test_loop",
    ),
    (
        "the last row is never seen",
        "_training/loop.py",
        "yield from torch.randperm(n_rows, generator=rng).tensor_split(n_batches)",
        "yield from torch.randperm(max(n_rows - 1, 1)).tensor_split(n_batches)",
        "training/test_loop",
    ),
    (
        "a cache blind to the rows",
        "_training/run.py",
        "rows=self.rows.digest(),",
        "rows=0,",
        "training/test_cache",
    ),
    (
        "a checkpoint forgets the random stream",
        CHECKPOINT,
        "noise_rng.set_state(tensors.pop(NOISE))",
        "tensors.pop(NOISE)",
        "training/test_checkpoint",
    ),
    (
        "a checkpoint forgets the best state",
        CHECKPOINT,
        "if progress.kept != progress.n_iter:",
        "if False:",
        "training/test_checkpoint",
    ),
    (
        "a training is resumed from a checkpoint of other rows",
        CHECKPOINT,
        """ or description["training"] != self._training:""",
        ":",
        "training/test_checkpoint",
    ),
    (
        "any damaged file is believed",
        "_persistence/model_file.py",
        "if content[DIGEST] != _digest(content):",
        "if False:",
        "persistence/test_hostile_files",
    ),
    (
        "windows blended without their weights",
        "_data/blending.py",
        "mean += window / weight * (part - mean)",
        "mean += window * (part - mean)",
        "test_image",
    ),
    (
        "the most normal patches pooled",
        "_data/blending.py",
        "np.sort(scores)[:size].mean()",
        "np.sort(scores)[-size:].mean()",
        "test_image",
    ),
    (
        "anomalies in the training folds",
        "model_selection.py",
        "yield train[labels[train] == 1], test",
        "yield train, test",
        "test_model_selection",
    ),
    (
        "the classifier's labels swapped",
        "model_selection.py",
        "np.where(decision < 0, anomaly, normal)",
        "np.where(decision > 0, anomaly, normal)",
        "test_model_selection",
    ),
    (
        "weights in the training alone",
        "_data/row_weights.py",
        "held_out=repeated(parts.held_out, weights)",
        "held_out=parts.held_out",
        "data/test_row_weights detectors/test_fit_plan",
    ),
    (
        "weights in the threshold alone",
        "_data/row_weights.py",
        "kept=repeated(parts.kept, weights)",
        "kept=parts.kept",
        "data/test_row_weights detectors/test_fit_plan",
    ),
    (
        "rows of weight 0 learned",
        "detectors/_base.py",
        "normal[weights[normal] > 0]",
        "normal[weights[normal] >= 0]",
        "detectors/test_fit_plan",
    ),
    (
        "p-values without the row itself",
        "conformal.py",
        "return (1 + as_anomalous) / (len(self.calibration_scores_) + 1)",
        "return as_anomalous / (len(self.calibration_scores_) + 1)",
        "test_conformal",
    ),
    (
        "average precision of the normal rows",
        "metrics.py",
        "== -1, -y_score",
        "== 1, y_score",
        "test_metrics",
    ),
    (
        "AUROC of abnormality upside down",
        "metrics.py",
        "roc_auc_score(is_outlier, abnormality, sample_weight=sample_weight)",
        "roc_auc_score(is_outlier, -abnormality, sample_weight=sample_weight)",
        "test_metrics",
    ),
]


def apply(at: int, folder: Path) -> str:
    """Put one fault into a copy of the package and return why not, if it cannot be."""
    _, path, code, fault, files = FAULTS[at]
    missing = [name for name in files.split() if not test_file(name).exists()]
    if missing:
        return f"there are no tests {', '.join(missing)}"
    broken = folder / "skanogan" / path
    if not broken.exists():
        return f"there is no {path}"
    text = broken.read_text(encoding="utf-8")
    if text.count(code) != 1:
        return f"{path} holds {code!r} {text.count(code)} times"
    broken.write_text(text.replace(code, fault), encoding="utf-8")
    return ""


def test_file(name: str) -> Path:
    return ROOT / "tests" / f"{name}.py"


def notices(at: int, folder: Path) -> bool:
    """Run the tests of one fault on the copy, and say whether one fails."""
    tests = [str(test_file(name).relative_to(ROOT)) for name in FAULTS[at][4].split()]
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not long"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    caught = done.returncode == 1 and bool(lines)
    told = (
        lines[0].partition("::")[2].partition(" ")[0] if lines else done.stdout[-200:]
    )
    report(at, "caught" if caught else "MISSED", told)
    return caught


def report(at: int, status: str, detail: str) -> None:
    print(f"{at:2d} {status}  {FAULTS[at][0]}: {detail}", flush=True)


def main(arguments: list[str]) -> int:
    only_list = "--list" in arguments
    chosen = [int(at) for at in arguments if at != "--list"] or range(len(FAULTS))
    missed = refused = 0
    for at in chosen:
        with tempfile.TemporaryDirectory() as folder:
            for name in ("skanogan", "tests", "pyproject.toml", "README.md"):
                source, target = ROOT / name, Path(folder) / name
                (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
            if why := apply(at, Path(folder)):
                refused += 1
                report(at, "REFUSED", why)
            elif only_list:
                report(at, "found", FAULTS[at][1])
            else:
                missed += not notices(at, Path(folder))
    print(f"{len(chosen)} faults: {missed} missed, {refused} refused")
    return 2 if refused else 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
