"""Which column of a row is wrong? `explain` on a CSV with categories and gaps.

A made-up log of machines is written to a CSV and read again. A pipeline fills its gaps,
encodes its categories and fits a detector. In some new rows one column is altered. The
result is how often `explain` names this column first, and how long it takes. Beside it
stand a detector that is no network, the plain deviation from the mean, and, with
``--shap``, the permutation explainer of the package shap.

    python examples/studies reasons --shap
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import IsolationForest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skanogan import AnoGANDetector, FAnoGANDetector, OCGANDetector
from skanogan.inspection import explain

__all__ = ["altered", "first_shares", "machine_log", "main", "make_pipe"]

DETECTORS: dict[str, Callable[..., Any]] = {
    "OCGAN": OCGANDetector,
    "OCGAN, untrained": lambda **seed: OCGANDetector(max_iter=0, **seed),
    "AnoGAN": AnoGANDetector,
    "f-AnoGAN": FAnoGANDetector,
    "IsolationForest": IsolationForest,
}

ALTERATIONS = ("moved", "of another row", "other category")
"""A number moved by 4 to 8 standard deviations; a number or a category that belongs to
another row; a category replaced by another one."""

BACKGROUND = 20
"""Number of normal rows that the permutation explainer averages over."""


def machine_log(n: int, rng: np.random.RandomState) -> pd.DataFrame:
    """Make the rows of a log of machines.

    Parameters
    ----------
    n : int
        Number of rows.
    rng : RandomState

    Returns
    -------
    log : DataFrame of n rows
        Three categories and six numbers, which depend on each other. 3 % of the cells
        of three columns are missing.
    """
    machine = rng.choice(["drill", "lathe", "mill", "press"], n, p=[0.4, 0.3, 0.2, 0.1])
    site = rng.choice(["Aarhus", "Lyon", "Porto"], n)
    material = np.where(
        machine == "press", "steel", rng.choice(["steel", "brass", "oak"], n)
    )
    nominal = pd.Series({"drill": 1500.0, "lathe": 900, "mill": 600, "press": 60})
    hardness = pd.Series({"steel": 3.0, "brass": 2, "oak": 1})
    ambient = pd.Series({"Aarhus": 9.0, "Lyon": 14, "Porto": 19})
    speed = nominal[machine].to_numpy() * rng.normal(1, 0.05, n)
    load = hardness[material].to_numpy() * rng.normal(1, 0.1, n)
    power = load * speed / 300 + rng.normal(0, 0.1, n)
    temperature = ambient[site].to_numpy() + 3 * power + rng.normal(0, 1, n)
    log = pd.DataFrame(
        {
            "machine": machine,
            "site": site,
            "material": material,
            "speed": speed,
            "load": load,
            "power": power,
            "temperature": temperature,
            "vibration": 0.2 + 0.1 * load + rng.gamma(2, 0.05, n),
            "operators": rng.randint(1, 4, n),
        }
    )
    for name in ("temperature", "vibration", "material"):
        log.loc[rng.uniform(size=n) < 0.03, name] = np.nan
    return log


def altered(
    rows: pd.DataFrame, kind: str, rng: np.random.RandomState
) -> tuple[pd.DataFrame, list[str]]:
    """Alter one column of each row.

    Parameters
    ----------
    rows : DataFrame of n rows
    kind : str
        One of `ALTERATIONS`.
    rng : RandomState

    Returns
    -------
    rows : DataFrame of n rows
        The altered rows.
    columns : list of n str
        The column that was altered in each row.
    """
    numbers = ["speed", "load", "power", "temperature", "vibration"]
    categories = ["machine", "material"]
    choices = {
        "moved": numbers,
        "of another row": numbers + categories,
        "other category": categories,
    }[kind]
    found = rows.astype(dict.fromkeys(numbers, float)).reset_index(drop=True)
    columns = [choices[k] for k in rng.randint(len(choices), size=len(rows))]
    for i, name in enumerate(columns):
        others = rows[name].dropna()
        if kind == "moved":
            middle, deviation = others.mean(), others.std()
            start = middle if pd.isna(found.loc[i, name]) else found.loc[i, name]
            step = rng.choice([-1, 1]) * rng.uniform(4, 8) * deviation
            found.loc[i, name] = start + step
        elif kind == "of another row" and name in numbers:
            far = (others - found.loc[i, name]).abs().sort_values()
            # One of the upper half of the differences: the others are hardly altered.
            at = far.index[rng.randint(len(far) // 2, len(far))]
            found.loc[i, name] = rows.loc[at, name]
        else:
            others = others[others != found.loc[i, name]]
            found.loc[i, name] = others.iloc[rng.randint(len(others))]
    return found, columns


def make_pipe(detector: Any) -> Pipeline:
    """Make a pipeline that fills gaps, scales numbers and encodes categories.

    Parameters
    ----------
    detector : object
        The last step.

    Returns
    -------
    pipe : Pipeline
    """
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    categories = make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(sparse_output=False)
    )
    is_number = make_column_selector(dtype_include="number")
    is_text = make_column_selector(dtype_exclude="number")
    transformer = make_column_transformer((numbers, is_number), (categories, is_text))
    return make_pipeline(transformer, detector)


def first_shares(
    contributions: np.ndarray, names: list[str], columns: list[str]
) -> tuple[float, float]:
    """Compute how often the altered column comes first, and among the first three.

    Parameters
    ----------
    contributions : ndarray of shape (n, d)
    names : list of d str
    columns : list of n str

    Returns
    -------
    first, among_three : float
    """
    order = np.argsort(-contributions, axis=1, kind="stable")
    at = np.array([names.index(name) for name in columns])
    return float((order[:, 0] == at).mean()), float(
        (order[:, :3] == at[:, None]).any(1).mean()
    )


def deviations(rows: pd.DataFrame, normal: pd.DataFrame) -> np.ndarray:
    """Deviation of each number from the mean; 1 - its share for a category."""
    found = np.zeros(rows.shape)
    for j, name in enumerate(rows):
        if rows[name].dtype.kind in "if":
            values = (rows[name] - normal[name].mean()).abs() / normal[name].std()
        else:
            values = 1 - rows[name].map(normal[name].value_counts(normalize=True))
        found[:, j] = values.fillna(0)
    return found


def by_permutation(
    pipe: Pipeline, rows: pd.DataFrame, normal: pd.DataFrame
) -> np.ndarray:
    """Shapley values of each row by shap's permutation explainer, sign changed."""
    import shap

    categories = {
        name: sorted(normal[name].dropna().unique())
        for name in normal
        if normal[name].dtype.kind not in "if"
    }

    def encoded(frame: pd.DataFrame) -> np.ndarray:
        coded = {
            n: frame[n].map(dict(zip(c, range(len(c)), strict=True)))
            for n, c in categories.items()
        }
        return frame.assign(**coded).to_numpy(float)

    def score(X: np.ndarray) -> np.ndarray:
        frame = pd.DataFrame(X, columns=normal.columns)
        texts = {n: frame[n].map(dict(enumerate(c))) for n, c in categories.items()}
        return pipe.score_samples(frame.assign(**texts))

    background = encoded(normal.sample(BACKGROUND, random_state=0))
    explainer = shap.PermutationExplainer(score, background, seed=0)
    return -explainer(encoded(rows), silent=True).values


def main(argv: list[str]) -> int:
    """Run the study and print its table.

    Parameters
    ----------
    argv : list of str
        Arguments of the command line.

    Returns
    -------
    status : int
        0.
    """
    parser = argparse.ArgumentParser(
        prog="python examples/studies reasons",
        description="How well explain names the altered column of rows of a CSV.",
    )
    parser.add_argument("--rows", type=int, default=20_000, help="rows of the CSV")
    parser.add_argument("--altered", type=int, default=50, help="rows to explain")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--shap", action="store_true", help="also run shap")
    arguments = parser.parse_args(argv)
    found: dict[str, list[list[float]]] = {}
    for seed in range(arguments.seeds):
        rng = np.random.RandomState(seed)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "machines.csv"
            machine_log(arguments.rows, rng).to_csv(path, index=False)
            log = pd.read_csv(path)
        new = machine_log(arguments.altered, rng)
        cases = [altered(new, kind, rng) for kind in ALTERATIONS]
        shares = [first_shares(deviations(r, log), list(log), c) for r, c in cases]
        found.setdefault("deviation from the mean", []).append(
            [*np.ravel(shares), np.nan, np.nan, np.nan, np.nan]
        )
        for name, make in DETECTORS.items():
            pipe = make_pipe(make(random_state=seed)).fit(log, np.ones(len(log)))
            row, begun = [], time.perf_counter()
            reasons = [explain(pipe, r, log) for r, _ in cases]
            seconds = (time.perf_counter() - begun) / len(cases)
            for each, (_, columns) in zip(reasons, cases, strict=True):
                row += first_shares(each.contributions, each.feature_names, columns)
            row += [seconds, np.nan, np.nan, np.nan]
            if arguments.shap:
                begun = time.perf_counter()
                values = by_permutation(pipe, cases[0][0], log)
                row[-3] = time.perf_counter() - begun
                row[-2] = first_shares(values, list(log), cases[0][1])[0]
                row[-1] = np.mean(
                    [
                        spearmanr(a, b).statistic
                        for a, b in zip(values, reasons[0].contributions, strict=True)
                    ]
                )
            found.setdefault(name, []).append(row)
    heads = [f"{kind}, {at}" for kind in ALTERATIONS for at in ("first", "in 3")]
    heads += ["seconds", "shap: seconds", "moved, first", "rank correlation"]
    print(f"| {arguments.seeds} seeds | {' | '.join(heads)} |")
    print("|---" * (len(heads) + 1) + "|")
    for name, rows in found.items():
        cells = ["" if np.isnan(x) else f"{x:.2f}" for x in np.mean(rows, axis=0)]
        print(f"| {name} | {' | '.join(cells)} |")
    return 0
