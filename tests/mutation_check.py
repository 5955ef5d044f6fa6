"""Forty-two hand-made faults, one at a time: does the suite notice each?

    python tests/mutation_check.py            # all, some fifteen minutes on one core
    python tests/mutation_check.py 3 7        # these

Each fault is put into a copy of the package, and the tests of the files named beside it
run on the copy until one fails.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]

ANOGAN, GAN = "models/_anogan.py", "models/_gan.py"
OCGAN, METRIC = "models/_ocgan.py", "models/_metric.py"

# What is broken, where, the code, the fault, and the test files that are to notice.
FAULTS = [
    (
        "score without its sign",
        "_base.py",
        "scores = -self._in_chunks(",
        "scores = self._in_chunks(",
        "test_common test_detector",
    ),
    (
        "threshold added",
        "_base.py",
        "self.score_samples(X) - self.offset_",
        "self.score_samples(X) + self.offset_",
        "test_common test_detector",
    ),
    (
        "zero is an outlier",
        "_base.py",
        "self.decision_function(X) < 0, -1",
        "self.decision_function(X) <= 0, -1",
        "test_detector test_calibration",
    ),
    (
        "contamination from the other end",
        "_calibration.py",
        "np.percentile(scores, 100.0 * float(",
        "np.percentile(scores, 100.0 - 100.0 * float(",
        "test_calibration test_common",
    ),
    (
        "calibrated on rows that were trained on",
        "_base.py",
        "np.sort(parts.unseen) if calibrates else normal",
        "normal",
        "test_calibration test_detector",
    ),
    (
        "anomalies are trained on",
        "_labels.py",
        "return np.flatnonzero(labels == 1)",
        "return np.arange(n_rows)",
        "test_detector test_bad_input",
    ),
    (
        "networks are not at rest",
        "models/_model.py",
        "self.eval().requires_grad_(False)",
        "self.requires_grad_(False)",
        "test_common models/test_gan",
    ),
    (
        "lambda on the wrong term",
        ANOGAN,
        "loss = (1 - weight) * residual(scaled, drawn) + weight * matching",
        "loss = weight * residual(scaled, drawn) + (1 - weight) * matching",
        "models/test_anogan",
    ),
    (
        "mean where the paper sums",
        "models/_losses.py",
        "return (x - drawn).abs().flatten(1).sum(1)",
        "return (x - drawn).abs().flatten(1).mean(1)",
        "models/test_losses models/test_anogan",
    ),
    (
        "the farthest candidate",
        METRIC,
        "largest=False",
        "largest=True",
        "models/test_metric",
    ),
    (
        "whitening of the wrong axis",
        METRIC,
        "vectors = torch.linalg.eigh(rows.T @ rows / m)",
        "vectors = torch.linalg.eigh((rows - rows.mean(1, keepdim=True)).T @ rows / m)",
        "models/test_metric",
    ),
    (
        "floor left out",
        METRIC,
        "added = floor * mean + tiny",
        "added = tiny",
        "models/test_metric",
    ),
    (
        "search uphill",
        "models/_inversion.py",
        "value=-self._step_size",
        "value=self._step_size",
        "models/test_inversion",
    ),
    (
        "search without bias correction",
        "models/_inversion.py",
        "first = self.first / (1 - self.decays[0])",
        "first = self.first",
        "models/test_inversion",
    ),
    (
        "a row rests one look too early",
        "models/_inversion.py",
        "moving = change > tol * search.loss_before.abs()",
        "moving = change > 100 * tol * search.loss_before.abs()",
        "models/test_inversion",
    ),
    (
        "active rows mixed up",
        "models/_inversion.py",
        "found[active] = search.z",
        "found[: len(active)] = search.z",
        "models/test_inversion",
    ),
    (
        "the first of the starts, not the best",
        ANOGAN,
        "best = torch.stack(losses, 1).argmin(1)",
        "best = torch.stack(losses, 1).argmax(1)",
        "models/test_anogan",
    ),
    (
        "drawn rows taken for real ones",
        "models/_losses.py",
        "lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean()",
        "lambda real, fake: F.softplus(real).mean() + F.softplus(-fake).mean()",
        "models/test_losses",
    ),
    (
        "the discriminator's gradients pile up",
        GAN,
        "self._discriminator_optimizer.zero_grad()",
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
        "mining towards positives",
        OCGAN,
        "loss = softplus(self.classifier(decoder(points))).sum()",
        "loss = softplus(-self.classifier(decoder(points))).sum()",
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
        "noise by its variance",
        OCGAN,
        "return noise * self.game.noise_variance**0.5",
        "return noise * self.game.noise_variance",
        "models/test_ocgan",
    ),
    (
        "the last state, not the best",
        "_training.py",
        "if error is None or error < progress.least:",
        "if True:",
        "test_training",
    ),
    (
        "the last row is never seen",
        "_training.py",
        "yield from torch.randperm(n_rows, generator=rng).tensor_split(n_batches)",
        "yield from torch.randperm(max(n_rows - 1, 1)).tensor_split(n_batches)",
        "test_training",
    ),
    (
        "anomalies in the training folds",
        "model_selection.py",
        "yield train[labels[train] == 1], test",
        "yield train, test",
        "test_model_selection",
    ),
    (
        "p-values without the row itself",
        "conformal.py",
        "return (1 + as_abnormal) / (len(self.calibration_scores_) + 1)",
        "return as_abnormal / (len(self.calibration_scores_) + 1)",
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
        "a checkpoint forgets the random stream",
        "_persistence/checkpoint.py",
        "noise_rng.set_state(tensors.pop(NOISE))",
        "tensors.pop(NOISE)",
        "persistence/test_checkpoint",
    ),
    (
        "any damaged file is believed",
        "_persistence/model_file.py",
        "if content[DIGEST] != _digest(content):",
        "if False:",
        "persistence/test_hostile_files persistence/test_detectors",
    ),
    (
        "a cache blind to the rows",
        "_trainings.py",
        "rows=self.rows.digest(),",
        "rows=0,",
        "test_memory",
    ),
    (
        "windows blended without their weights",
        "_patches.py",
        "mean += window / weight * (part - mean)",
        "mean += window * (part - mean)",
        "test_image",
    ),
    (
        "the most normal patches pooled",
        "_patches.py",
        "np.sort(scores)[:size].mean()",
        "np.sort(scores)[-size:].mean()",
        "test_image",
    ),
    (
        "bounds for small samples without the row itself",
        "_calibration.py",
        "math.sqrt(1 + 1 / n)",
        "math.sqrt(1 / n)",
        "test_calibration",
    ),
    (
        "f-AnoGAN's kappa on pixels",
        "models/_fanogan.py",
        "return pixels + self.feature_weight * difference.square().mean(1)",
        "return self.feature_weight * pixels + difference.square().mean(1)",
        "models/test_fanogan test_fanogan",
    ),
    (
        "encoder trained in the loss's sum, not its mean",
        GAN,
        "pixels = (scaled - drawn).square().flatten(1).mean(1)",
        "pixels = (scaled - drawn).square().flatten(1).sum(1)",
        "models/test_gan",
    ),
    (
        "maps one position aside",
        "models/_feature_map.py",
        "first += step * ((layer.kernel_size[0] - 1) / 2 - int(layer.padding[0]))",
        "first += step * (layer.kernel_size[0] / 2 - int(layer.padding[0]))",
        "test_anomaly_map models/test_fanogan",
    ),
    (
        "a checkpoint forgets the best state",
        "_persistence/checkpoint.py",
        "if progress.kept != progress.n_iter:",
        "if False:",
        "persistence/test_checkpoint",
    ),
    (
        "a checkpoint of other rows is gone on from",
        "_persistence/checkpoint.py",
        """ or description["training"] != self._training:""",
        ":",
        "persistence/test_checkpoint",
    ),
    (
        "reconstructions on the networks' scale",
        "models/_scaling.py",
        "scaled.to(self.shift.dtype) * self.scale + self.shift",
        "scaled.to(self.shift.dtype) * self.scale",
        "test_inputs models/test_gan",
    ),
    (
        "the classifier's labels swapped",
        "model_selection.py",
        "return np.where(self.decision_function(X) < 0, *self.classes_)",
        "return np.where(self.decision_function(X) > 0, *self.classes_)",
        "test_model_selection",
    ),
    (
        "AUROC of abnormality upside down",
        "metrics.py",
        "roc_auc_score(is_outlier, abnormality, sample_weight=sample_weight)",
        "roc_auc_score(is_outlier, -abnormality, sample_weight=sample_weight)",
        "test_metrics",
    ),
]


def notices(at: int) -> bool:
    """Put one fault into a copy, run the tests beside it, and say whether one fails."""
    what, path, code, fault, files = FAULTS[at]
    with tempfile.TemporaryDirectory() as folder:
        for name in ("skanogan", "tests", "pyproject.toml", "README.md"):
            source, target = ROOT / name, Path(folder) / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        broken = Path(folder) / "skanogan" / path
        text = broken.read_text(encoding="utf-8")
        assert text.count(code) >= 1, f"{what}: {path} holds no {code!r}"
        broken.write_text(text.replace(code, fault, 1), encoding="utf-8")
        tests = [f"tests/{name}.py" for name in files.split()]
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
    print(f"{at:2d} {'caught' if caught else 'MISSED'}  {what}: {told}", flush=True)
    return caught


if __name__ == "__main__":
    wanted = [int(at) for at in sys.argv[1:]] or range(len(FAULTS))
    caught = [notices(at) for at in wanted]
    print(f"{sum(caught)} of {len(caught)} caught")
    sys.exit(sum(caught) < len(caught) - 2)
