"""Damaged files, forged files and files of other programs.

A damaged file is refused. A forged file is refused, or is a detector of other numbers.
Nothing of it is executed. The long versions (``make test-long``) print counts.
"""

import copy
import json
import os
import pickle
import sys
from collections import Counter

import numpy as np
import pytest
import safetensors.torch
import torch
from cheap import cheap

import skanogan
from skanogan._persistence import model_file
from skanogan._persistence.description import DEEPEST
from skanogan.conformal import ConformalDetector
from skanogan.exceptions import ModelFileError
from skanogan.image import PatchDetector
from skanogan.utils.discovery import all_detectors

SMALL = {
    "max_iter": 4,
    "n_candidates": 32,
    "hidden_layer_sizes": (8, 8),
    "n_filters": 2,
    "latent_dim": 3,
}

X = np.random.RandomState(0).normal(size=(40, 5))


IMAGES = np.random.RandomState(0).uniform(size=(30, 9, 8))


class Saved:
    """The file of a detector, and its scores of the rows that it was fitted on."""

    def __init__(self, detector, rows, folder):
        detector.fit(rows)
        self.path = folder / "detector"
        detector.save(self.path)
        self.content = self.path.read_bytes()
        self.rows = rows
        self.scores = detector.score_samples(rows)

    @property
    def parts(self):
        """A copy of the description and the tensors."""
        return model_file.unpack(self.content)

    def open(self, content):
        """Load other content from the path of the file."""
        self.path.write_bytes(content)
        return skanogan.load(self.path)

    def outcome(self, content):
        """Return "refused", "right" or "wrong". Any other error is raised."""
        try:
            loaded = self.open(content)
        except ModelFileError:
            return "refused"
        same = np.array_equal(loaded.score_samples(self.rows), self.scores)
        return "right" if same else "wrong"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The file of an AnoGANDetector of a table."""
    detector = cheap(skanogan.AnoGANDetector, **SMALL)
    return Saved(detector, X, tmp_path_factory.mktemp("saved"))


@pytest.fixture(scope="module")
def another(tmp_path_factory):
    """A file of the same sizes, for rows in other units."""
    detector = cheap(skanogan.AnoGANDetector, **SMALL)
    return Saved(detector, 2 * X, tmp_path_factory.mktemp("another"))


def wrapper():
    """Make a detector within a detector within a detector."""
    detector = cheap(skanogan.AnoGANDetector, **SMALL)
    detector = ConformalDetector(detector, alpha=0.2, random_state=0)
    return PatchDetector(detector, patch_size=4, patches_per_image=8, random_state=0)


@pytest.fixture(scope="module")
def wrapped(tmp_path_factory):
    """The file of detectors in each other."""
    return Saved(wrapper(), IMAGES, tmp_path_factory.mktemp("wrapped"))


def every_kind(folder_factory):
    """Yield files of each detector, of a table and of images, and of wrappers."""
    for name, detector_class in all_detectors():
        for kind, rows in (("table", X), ("images", IMAGES)):
            detector = cheap(detector_class, **SMALL)
            yield f"{name}, {kind}", Saved(detector, rows, folder_factory.mktemp(name))
    yield "wrappers", Saved(wrapper(), IMAGES, folder_factory.mktemp("wrappers"))


def header_of(content):
    length = int.from_bytes(content[:8], "little")
    return content[: 8 + length], content[8 + length :]


def flipped(content, at, bit):
    altered = bytearray(content)
    altered[at] ^= 1 << bit
    return bytes(altered)


def random_flips(content, n, seed=0):
    """Flip random bits, half of them in the header, which is the smaller part."""
    rng = np.random.RandomState(seed)
    in_header = len(header_of(content)[0])
    for k in range(n):
        start, stop = (0, in_header) if k % 2 else (in_header, len(content))
        yield flipped(content, rng.randint(start, stop), rng.randint(8))


def report(title, outcomes):
    counts = {kind: outcomes[kind] for kind in ("refused", "right", "wrong")}
    print(f"{title}: {sum(outcomes.values())} files, {counts}")


# Damage -----------------------------------------------------------------------


def test_the_whole_file_opens(saved):
    assert saved.outcome(saved.content) == "right"


def truncations(content, percents):
    return (content[: len(content) * percent // 100] for percent in percents)


def test_a_truncated_file_is_refused(saved):
    outcomes = Counter(
        map(saved.outcome, truncations(saved.content, range(0, 100, 10)))
    )
    assert outcomes == {"refused": 10}


def test_a_byte_too_few_or_too_many_is_refused(saved):
    for content in (saved.content[:-1], saved.content[1:], saved.content + b"\0"):
        assert saved.outcome(content) == "refused"


def test_a_flipped_bit_anywhere_is_refused(saved):
    outcomes = Counter(map(saved.outcome, random_flips(saved.content, 100)))
    assert outcomes == {"refused": 100}


def test_a_flipped_bit_in_the_first_bytes_is_refused(saved):
    contents = (flipped(saved.content, at, bit) for at in range(130) for bit in (0, 5))
    assert Counter(map(saved.outcome, contents)) == {"refused": 260}


def test_the_header_of_one_file_on_the_body_of_another_is_refused(saved, another):
    (head, body), (other_head, other_body) = map(
        header_of, (saved.content, another.content)
    )
    assert len(body) == len(other_body)
    for content in (head + other_body, other_head + body):
        with pytest.raises(ModelFileError, match=r"differs from its digest.*undamaged"):
            saved.open(content)


def test_a_block_of_zeros_is_refused(saved):
    content = bytearray(saved.content)
    content[-4096:-2048] = bytes(2048)
    assert saved.outcome(bytes(content)) == "refused"


@pytest.mark.long
def test_long_damaged_files_are_refused(tmp_path_factory):
    total = Counter()
    for title, file in every_kind(tmp_path_factory):
        outcomes = Counter(map(file.outcome, truncations(file.content, range(100))))
        outcomes.update(map(file.outcome, random_flips(file.content, 2000)))
        report(
            f"{title}, {len(file.content)} bytes, 100 cuts and 2,000 flips", outcomes
        )
        total += outcomes
    report("All", total)
    assert set(total) <= {"refused", "right"}


# Other files ------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 8,
        b"\xff" * 200,
        pickle.dumps({"a": 1}),
        b"PK\x03\x04" + b"\0" * 200,
        safetensors.torch.save({"weight": torch.ones(3)}),
        safetensors.torch.save({"weight": torch.ones(3)}, {"skanogan": "{}"}),
    ],
    ids=["empty", "zeros", "ones", "pickle", "zip", "safetensors", "without a digest"],
)
def test_another_file_is_refused_with_advice(saved, content):
    with pytest.raises(ModelFileError, match=r"detector\.save wrote.*joblib\.load"):
        saved.open(content)


def test_a_torch_archive_is_not_opened(saved):
    torch.save({"weight": torch.ones(3)}, saved.path)
    with pytest.raises(ModelFileError, match=r"detector\.save wrote"):
        skanogan.load(saved.path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_a_device_and_a_folder_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(ModelFileError, match="not a regular file"):
            skanogan.load(path)


# Forgery: the digest belongs to the content -----------------------------------


def forged(saved, change):
    """Alter the description and tensors of a file, and compute the digest."""
    description, tensors = saved.parts
    change(description, tensors)
    return model_file.pack(description, tensors)


def sealed(header, body):
    """Make a file with a header of any bytes and the digest of it."""
    start = model_file.START + model_file.NO_DIGEST
    content = len(start + header).to_bytes(8, "little") + start + header + body
    return model_file.seal(content)


def parameter(**values):
    return lambda description, _: description["detector"]["parameters"].update(values)


def attribute(**values):
    return lambda description, _: description["detector"]["attributes"].update(values)


def entry(**values):
    return lambda description, _: description.update(values)


def detector(**values):
    values = {"class" if k == "name" else k: v for k, v in values.items()}
    return lambda description, _: description["detector"].update(values)


def model(**values):
    return lambda description, _: description["detector"]["model"].update(values)


def within_model(kind, **values):
    """Change some of the parts or numbers of the first member."""

    def change(description, _):
        found = description["detector"]["model"][kind]
        found.update({f"members.0.{name}": value for name, value in values.items()})

    return change


def tensor(**values):
    def change(_, tensors):
        for name, make in values.items():
            tensors[name.replace("__", ".")] = make(tensors)

    return change


def without(where, name):
    def change(description, tensors):
        (tensors if where == "tensors" else description["detector"][where]).pop(name)

    return change


def sides(*shape):
    return {"tuple": list(shape)}


HUGE = 10**12


def itself(kind, key):
    """Put the detector into itself, unfitted in the place of a parameter."""

    def change(description, _):
        copied = copy.deepcopy(description["detector"])
        if kind == "parameters":
            copied |= {"attributes": None, "model": None}
        description["detector"][kind][key] = {"detector": copied}

    return change


NOT_REGISTERED = "is not a registered detector class"

FORGED = {
    "unknown class": (detector(name="Detector"), f"'Detector' {NOT_REGISTERED}"),
    "function of the package": (detector(name="load"), f"'load' {NOT_REGISTERED}"),
    "class elsewhere": (detector(name="os.system"), NOT_REGISTERED),
    "base class": (detector(name="BaseDetector"), NOT_REGISTERED),
    "class of a wrapper": (detector(name="ConformalDetector"), "model"),
    "class that is not a string": (detector(name=1), "'class'"),
    "newer format": (entry(format=3), "format 3.*Update"),
    "older format": (entry(format=1), "format 1, which"),
    "format that is none": (entry(format=True), "'format'"),
    "unknown entry": (entry(code="print()"), "'code'"),
    "missing entry": (lambda description, _: description.pop("versions"), "'versions'"),
    "detector that is none": (entry(detector=[]), "'detector'"),
    "unknown entry of a detector": (detector(code="print()"), "'code'"),
    "missing entry of a detector": (
        lambda description, _: description["detector"].pop("model"),
        "'model'",
    ),
    "unknown entry of a model": (model(code="print()"), "'code'"),
    "missing entry of a model": (
        lambda description, _: description["detector"]["model"].pop("parts"),
        "'parts'",
    ),
    "more members": (parameter(n_estimators=2), "1 members, not 2"),
    "a huge number of members": (parameter(n_estimators=HUGE), "1 members, not"),
    "unfitted detector": (detector(attributes=None, model=None), "attributes or the"),
    "fitted detector without a model": (detector(model=None), "attributes or the"),
    "dtype of no score": (model(dtype="int8"), "int8"),
    "unknown parameter": (parameter(hook="print"), r"\['hook'\]"),
    "missing parameter": (without("parameters", "n_steps"), r"\['n_steps'\]"),
    "parameter that is not valid": (parameter(n_steps=-1), "n_steps"),
    "parameter of another type": (parameter(prior=[1]), "prior"),
    "parameters at odds": (parameter(backbone="convolutional"), "convolutional"),
    "value that is none": (parameter(device={"eval": "1"}), "eval"),
    "device that is none": (parameter(device={"device": "\0"}), "is not a device"),
    "network that was not there": (parameter(generator={"network": "x"}), "load.path"),
    "detector for a network": (itself("parameters", "generator"), "'generator' param"),
    "reference in a list": (
        parameter(hidden_layer_sizes=[{"detector": {}}]),
        "not a value",
    ),
    "tensor for a parameter": (parameter(prior={"tensor": "latents"}), "not a value"),
    "attribute for a parameter": (
        parameter(max_iter={"attribute": "n_iter_"}),
        "not a value",
    ),
    "network as an attribute": (attribute(offset_={"network": "x"}), "not a value"),
    "detector as an attribute": (itself("attributes", "offset_"), "is missing"),
    "tensor for the threshold": (
        attribute(offset_={"tensor": "members.0.latents"}),
        "offset_",
    ),
    "tensor that is missing": (attribute(offset_={"tensor": "x"}), "'x' is missing"),
    "numbers for names": (
        attribute(feature_names_in_={"tensor": "members.0.metric.gain"}),
        "shapes and names",
    ),
    "string for the threshold": (attribute(offset_="0"), "offset_"),
    "switch for the threshold": (attribute(offset_=True), "offset_"),
    "missing threshold": (without("attributes", "offset_"), "offset_"),
    "attribute of Python": (attribute(__class__="int"), "__class__"),
    "method as an attribute": (attribute(score_samples=1.0), "score_samples"),
    "model as an attribute": (attribute(model_=1.0), "model_"),
    "history of another kind": (attribute(history_=[1, 2]), "history_"),
    "no features": (attribute(n_features_in_=0), "features"),
    "names of too few columns": (
        attribute(feature_names_in_={"names": ["a"]}),
        "shapes and names",
    ),
    "image of no size": (attribute(image_shape_=sides(0, 5, 1)), "shapes and names"),
    "missing tensor": (
        without("tensors", "members.0.generator.0.weight"),
        "members.0.generator.0.weight",
    ),
    "missing candidates": (without("tensors", "members.0.latents"), "latents"),
    "missing half of a metric": (without("tensors", "members.0.metric.gain"), "gain"),
    "tensor too many": (tensor(extra=lambda t: torch.ones(1, dtype=int)), ""),
    "tensor in a network": (
        tensor(members__0__generator__0__more=lambda t: t["members.0.latents"]),
        "no part",
    ),
    "method as a tensor": (tensor(score=lambda t: t["members.0.latents"]), "'score'"),
    "table of submodules": (
        tensor(_modules=lambda t: t["members.0.latents"]),
        "'_modules'",
    ),
    "weights of another shape": (
        tensor(
            members__0__generator__0__weight=lambda t: (
                t["members.0.generator.0.weight"].T
            )
        ),
        r"\(3, 8\) float64, not \(8, 3\) float64",
    ),
    "weights of another dtype": (
        tensor(
            members__0__generator__0__weight=lambda t: t[
                "members.0.generator.0.weight"
            ].float()
        ),
        "float32, not .* float64",
    ),
    "integers for weights": (
        tensor(
            members__0__generator__0__weight=lambda t: t[
                "members.0.generator.0.weight"
            ].long()
        ),
        "int64, not .* float64",
    ),
    "candidates of another dtype": (
        tensor(members__0__latents=lambda t: t["members.0.latents"].half()),
        "all",
    ),
    "candidates of another shape": (
        tensor(members__0__latents=lambda t: t["members.0.latents"][:, :2]),
        "mat",
    ),
    "fewer coordinates": (
        tensor(members__0__coordinates=lambda t: t["members.0.coordinates"][:, 1:]),
        None,
    ),
    "a metric of other features": (
        tensor(members__0__metric__basis=lambda t: torch.ones(3, 3)),
        None,
    ),
    "part of a class that is none": (within_model("parts", metric="Linear"), "Linear"),
    "part of a class of Python": (
        within_model("parts", metric="os.system"),
        "os.system",
    ),
    "network as a part": (within_model("parts", metric="AnoGAN"), "AnoGAN"),
    "part within a network": (
        within_model("parts", **{"generator.x": "ModuleList"}),
        "generator.x",
    ),
    "part in the place of a network": (
        within_model("parts", generator="ModuleList"),
        "'generator'",
    ),
    "no numbers": (model(numbers={}), "argument"),
    "floats below none": (
        within_model("numbers", _floats_of_a_pass=-99),
        "row",
    ),
    "half a float of a pass": (within_model("numbers", _floats_of_a_pass=0.5), "row"),
    "number as a method": (
        within_model("numbers", _floats_of_a_pass=9, score=1),
        "'score'",
    ),
    "layer of a terabyte": (parameter(hidden_layer_sizes=sides(HUGE)), str(HUGE)),
    "layers of 8 GB": (parameter(hidden_layer_sizes=sides(30_000, 30_000)), "30000"),
    "layer beyond 64 bits": (parameter(hidden_layer_sizes=sides(2**62, 2**62)), "over"),
    "layers by the thousand": (parameter(hidden_layer_sizes=[1] * 10**5), "entries"),
    "latents of a terabyte": (parameter(latent_dim=HUGE), str(HUGE)),
    "rows of a terabyte": (
        attribute(n_features_in_=HUGE, _sample_shape=sides(HUGE)),
        str(HUGE),
    ),
    "images of a terabyte": (
        attribute(
            n_features_in_=HUGE,
            _sample_shape=sides(HUGE),
            image_shape_=sides(10**6, 10**6, 1),
        ),
        "overflow|not",
    ),
}


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="no peak is forgotten here"
)
def test_memory_below_an_earlier_peak_is_measured(memory_below):
    def take(n_bytes):
        np.ones(n_bytes, dtype=np.uint8)

    take(2**29)
    # A long process releases less memory than that meanwhile.
    with pytest.raises(AssertionError), memory_below(2**25):
        take(2**28)


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_description_is_refused_and_needs_no_memory(saved, name, memory_below):
    change, message = FORGED[name]
    content = forged(saved, change)
    if name == "tensor too many":
        # Nothing reads this buffer.
        assert saved.outcome(content) == "right"
        return
    with memory_below(500 * 2**20), pytest.raises(ModelFileError, match=message):
        saved.open(content)


def test_settings_of_a_search_do_not_make_loading_slow(saved):
    endless = dict.fromkeys(("n_steps", "n_candidates"), 10**12)
    loaded = saved.open(forged(saved, parameter(**endless)))
    assert loaded.model_.members[0].search.n_steps == 10**12


# Forgery of nested detectors --------------------------------------------------


def within(description, *keys):
    """Return the description of a detector in another one."""
    for key in keys:
        kind = "attributes" if key.endswith("_") else "parameters"
        (description,) = description[kind][key].values()
    return description


def at(*keys, **values):
    """Update the description of a detector in another one."""

    def change(description, _):
        part = within(description["detector"], *keys)
        for key, value in values.items():
            if isinstance(part[key], dict) and isinstance(value, dict):
                part[key].update(value)
            else:
                part[key] = value

    return change


def swapped(description, tensors):
    """Exchange the detector of patches and the unfitted one."""
    outer = description["detector"]
    outer["attributes"]["estimator_"], outer["parameters"]["estimator"] = (
        outer["parameters"]["estimator"],
        outer["attributes"]["estimator_"],
    )


def in_itself(n):
    """Put the conformal detector into itself, n times."""

    def change(description, tensors):
        inner = within(description["detector"], "estimator_")
        for _ in range(n):
            copied = copy.deepcopy(inner)
            inner["attributes"]["estimator_"] = {"detector": copied}
            for name in list(tensors):
                if name.startswith("estimator_/"):
                    tensors[f"estimator_/{name}"] = tensors[name]
            inner = copied

    return change


def moved(old, new):
    """Rename tensors."""

    def change(_, tensors):
        for name in [name for name in tensors if name.startswith(old)]:
            tensors[new + name.removeprefix(old)] = tensors.pop(name)

    return change


def nested(name, change):
    """Change a tensor."""
    return lambda _, tensors: tensors.update({name: change(tensors[name])})


FITTED = ("estimator_", "estimator_")

FORGED_WRAPPERS = {
    "unfitted and fitted detector exchanged": (swapped, "attributes or the"),
    "unfitted detector": (
        at("estimator_", attributes=None),
        "attributes or the model of Conf",
    ),
    "fitted parameter": (
        at("estimator", attributes={}),
        "attributes or the model of Conf",
    ),
    "no detector": (at(attributes={"estimator_": None}), "estimator_ is not of"),
    "number for a detector": (at(attributes={"estimator_": 1.0}), "estimator_ is not"),
    "names for a detector": (
        at(attributes={"estimator_": {"names": ["a"]}}),
        "estimator_ is not",
    ),
    "detector that is not described": (
        at(attributes={"estimator_": {"detector": 7}}),
        "estimator_ is not described",
    ),
    "empty description": (
        at(attributes={"estimator_": {"detector": {}}}),
        "missing or unknown",
    ),
    "unknown class within": (at("estimator_", **{"class": "os.system"}), "os.system"),
    "model of a wrapper": (at(model={}), "attributes or the model of Patch"),
    "detector of patches without a model": (at(*FITTED, model=None), "model of AnoGAN"),
    "another detector within": (
        at("estimator_", **{"class": "PatchDetector"}),
        "calibration_scores_",
    ),
    "missing attribute": (
        lambda description, _: within(description["detector"], "estimator_")[
            "attributes"
        ].pop("offset_"),
        "offset_",
    ),
    "unknown attribute": (at(attributes={"hook_": 1}), "hook_"),
    "parameter as an attribute": (at(attributes={"patch_size": 4}), "patch_size"),
    "parameter that is not valid": (at(parameters={"pooling": "x"}), "pooling"),
    "parameter that is not valid within": (
        at("estimator_", parameters={"alpha": 2}),
        "alpha",
    ),
    "parameter of the unfitted detector": (
        at("estimator", "estimator", parameters={"max_iter": -1}),
        "max_iter",
    ),
    "frozen detector that is not fitted": (
        lambda description, _: description["detector"]["parameters"].update(
            estimator={
                "frozen": description["detector"]["parameters"]["estimator"]["detector"]
            }
        ),
        "attributes or the",
    ),
    "attribute that is not frozen": (
        at(parameters={"estimator": {"attribute": "estimator_"}}),
        "not a value",
    ),
    "attribute that is missing": (
        at(parameters={"estimator": {"attribute": "x"}}),
        "not a value",
    ),
    "deeper than allowed": (in_itself(DEEPEST - 2), f"More than {DEEPEST} detectors"),
    "deep without end": (in_itself(40), f"More than {DEEPEST} detectors"),
    "missing tensors": (
        lambda _, tensors: [tensors.pop(k) for k in list(tensors) if "latents" in k],
        "latents",
    ),
    "tensors of no detector": (moved("estimator_/", "estimator/"), "is missing"),
    "tensors of an unknown detector": (moved("estimator_/", "x/"), "is missing"),
    "tensors at the level above": (
        moved("estimator_/estimator_/", "estimator_/"),
        "is missing",
    ),
    "tensor too many": (
        lambda _, tensors: tensors.update({"x": torch.ones(1)}),
        "'x'",
    ),
    "tensor too many within": (
        lambda _, tensors: tensors.update({"estimator_/x": torch.ones(1)}),
        "'x'",
    ),
    "tensor of an unfitted detector": (
        lambda _, tensors: tensors.update({"estimator/x": torch.ones(1)}),
        "must not have tensors",
    ),
    "weights of another shape": (
        nested(
            "estimator_/estimator_/members.0.generator.0.weight",
            lambda t: t.T.contiguous(),
        ),
        "generator.0.weight",
    ),
    "missing calibration": (
        lambda _, tensors: tensors.pop("estimator_/calibration_scores_"),
        "calibration_scores_",
    ),
    "calibration in float32": (
        nested("estimator_/calibration_scores_", lambda t: t.float()),
        "calibration_scores_",
    ),
    "calibration in bfloat16": (
        nested("estimator_/calibration_scores_", lambda t: t.bfloat16()),
        "calibration_scores_",
    ),
    "calibration of two dimensions": (
        nested("estimator_/calibration_scores_", lambda t: t[None]),
        "ascending",
    ),
    "calibration out of order": (
        nested("estimator_/calibration_scores_", lambda t: t.flip(0)),
        "ascending",
    ),
    "calibration that is not finite": (
        nested("estimator_/calibration_scores_", lambda t: t / 0),
        "ascending",
    ),
    "empty calibration": (
        nested("estimator_/calibration_scores_", lambda t: t[:0]),
        "offset_",
    ),
    "calibration as a string": (
        at("estimator_", attributes={"calibration_scores_": "0"}),
        "calibration_scores_",
    ),
    "threshold that is not a score": (
        at("estimator_", attributes={"offset_": 1.0}),
        "offset_",
    ),
    "dtype of objects": (at(attributes={"dtype_": {"dtype": "O"}}), "not a value"),
    "dtype of records": (
        at(attributes={"dtype_": {"dtype": "(9,9)f8"}}),
        "not a value",
    ),
    "dtype as a string": (at(attributes={"dtype_": "uint8"}), "dtype_"),
    "function for masks": (at(attributes={"masks_": "print"}), "masks_"),
    "number for a switch": (at(attributes={"_takes_images": 1}), "_takes_images"),
    "no patches": (at(attributes={"n_patches_": 0}), "n_patches_"),
    "no channels": (at(attributes={"n_channels_": 0}), "n_channels_"),
    "one channel": (at(attributes={"n_channels_": 1}), "n_channels_"),
    "channels of a terabyte": (at(attributes={"n_channels_": HUGE}), "16 features"),
    "patches of no size": (
        at(attributes={"patch_size_": sides(0, 4)}),
        "patch_size_",
    ),
    "patches of another size": (
        at(attributes={"patch_size_": sides(4, 5)}),
        "takes 16 features",
    ),
    "patches of a terabyte": (
        at(attributes={"patch_size_": sides(HUGE, HUGE)}),
        "takes 16 features",
    ),
    "stride of a terabyte": (at(attributes={"stride_": sides(HUGE, 1)}), "stride"),
    "layer of a terabyte": (
        at(*FITTED, parameters={"hidden_layer_sizes": sides(HUGE)}),
        str(HUGE),
    ),
}


@pytest.mark.parametrize("name", FORGED_WRAPPERS)
def test_a_forged_wrapper_is_refused_and_needs_no_memory(wrapped, name, memory_below):
    change, message = FORGED_WRAPPERS[name]
    content = forged(wrapped, change)
    with memory_below(500 * 2**20), pytest.raises(ModelFileError, match=message):
        wrapped.open(content)


def test_settings_of_the_unfitted_detector_make_no_layers(wrapped, memory_below):
    # Only another fit would use them.
    change = at(
        "estimator", "estimator", parameters={"hidden_layer_sizes": sides(HUGE)}
    )
    with memory_below(500 * 2**20):
        loaded = wrapped.open(forged(wrapped, change))
    assert loaded.estimator.estimator.hidden_layer_sizes == (HUGE,)
    np.testing.assert_array_equal(loaded.score_samples(IMAGES), wrapped.scores)


def test_wrappers_of_other_files_cannot_be_mixed(wrapped, saved):
    description, tensors = wrapped.parts
    other, weights = saved.parts
    inner = within(description["detector"], "estimator_")
    inner["attributes"]["estimator_"] = {"detector": other["detector"]}
    tensors = {
        name: tensor
        for name, tensor in tensors.items()
        if not name.startswith("estimator_/estimator_/")
    }
    tensors |= {f"estimator_/estimator_/{name}": t for name, t in weights.items()}
    with pytest.raises(ModelFileError, match="takes 5 features"):
        wrapped.open(model_file.pack(description, tensors))


def test_a_flipped_bit_in_the_file_of_a_wrapper_is_refused(wrapped):
    outcomes = Counter(map(wrapped.outcome, random_flips(wrapped.content, 100)))
    assert outcomes == {"refused": 100}


def test_nothing_in_a_forged_file_is_executed_or_written(saved, wrapped):
    seen = []
    watching = True

    def watch(event, arguments):
        if watching and (
            event.split(".")[0]
            in {"exec", "compile", "import", "pickle", "marshal", "os", "shutil"}
            or event.startswith(("subprocess", "socket", "ctypes", "tempfile"))
            or (event == "open" and arguments[1] not in ("r", "rb"))
        ):
            seen.append((event, *map(str, arguments)))

    contents = {name: forged(saved, change) for name, (change, _) in FORGED.items()}
    for name, (change, _) in FORGED_WRAPPERS.items():
        contents[f"wrapper: {name}"] = forged(wrapped, change)
    contents["whole wrapper"] = wrapped.content
    contents |= {"whole": saved.content, "cut": saved.content[:-9]}
    paths = []
    for k, content in enumerate(contents.values()):
        paths.append(saved.path.with_name(f"forged{k}"))
        paths[-1].write_bytes(content)

    def open_all():
        for path in paths:
            try:
                skanogan.load(path)
            except ModelFileError:
                continue

    open_all()  # torch imports some of its modules when it first needs them
    before = {path.name for path in saved.path.parent.iterdir()}
    sys.addaudithook(watch)
    try:
        open_all()
    finally:
        watching = False
    assert seen == []
    assert {path.name for path in saved.path.parent.iterdir()} == before


# Headers that are not valid ---------------------------------------------------


def header_with(description='{"a":1}', tensors="", tail=""):
    """Make a header after the digest: the rest of the description, and tensors."""
    rest = json.dumps(description[1:])[1:-1]
    return f'\\",{rest}"}}{tensors}}}{tail}'.encode()


def test_a_header_made_by_these_tests_is_that_of_a_file(saved):
    header, body = header_of(saved.content)
    rest = header[8 + len(model_file.START) + 64 :]
    assert sealed(rest, body) == saved.content


WEIGHT = ',"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'

HEADERS = {
    "no JSON": (b'\\"', b"", "JSON is not valid"),
    "depth": (header_with("{" + '"a":' + "[" * 10**6), b"", "JSON is not valid"),
    "depth outside": (header_with(tensors=',"a":' + "[" * 10**6), b"", "JSON"),
    "NaN": (header_with('{"a":NaN}'), b"", "NaN is not a number"),
    "infinity": (header_with('{"a":-Infinity}'), b"", "Infinity is not a number"),
    "beyond infinity": (header_with('{"a":1e999}'), b"", "1e999 is not finite"),
    "integer of a million digits": (
        header_with('{"a":' + "9" * 10**6 + "}"),
        b"",
        "fit into 64 bits",
    ),
    "key twice": (header_with('{"a":1,"a":2}'), b"", "'a' occurs twice"),
    "tensor twice": (header_with(tensors=WEIGHT * 2), bytes(8), "'w' occurs twice"),
    "metadata twice": (
        header_with(tensors=',"__metadata__":{"skanogan":"{}"}'),
        b"",
        "'__metadata__' occurs twice",
    ),
    "other metadata": (header_with()[:-2] + b',"x":"y"}}', b"", "must have one entry"),
    "no text": (b'\\"}"}}\xff', b"", "JSON"),
    "half a surrogate": (header_with('{"a":"\\ud800"}'), b"", "entries"),
    "1 TB claimed": (
        header_with(
            tensors=',"w":{"dtype":"F32","shape":[500000,500000],'
            '"data_offsets":[0,1000000000000]}'
        ),
        bytes(100),
        "do not fit",
    ),
    "elements beyond 64 bits": (
        header_with(
            tensors=',"w":{"dtype":"F32","shape":[4294967296,4294967296,4],'
            '"data_offsets":[0,8]}'
        ),
        bytes(8),
        "do not fit",
    ),
    "shape that the data have not": (
        header_with(tensors=WEIGHT.replace("[2]", "[3]")),
        bytes(8),
        "do not fit",
    ),
    "overlap": (
        header_with(tensors=WEIGHT + WEIGHT.replace('"w"', '"v"')),
        bytes(8),
        "do not fit",
    ),
    "gap": (
        header_with(
            tensors=WEIGHT + WEIGHT.replace('"w"', '"v"').replace("[0,8]", "[16,24]")
        ),
        bytes(24),
        "do not fit",
    ),
    "before the start": (
        header_with(tensors=WEIGHT.replace("[0,8]", "[-8,0]")),
        bytes(8),
        "do not fit",
    ),
    "data that nothing claims": (header_with(tensors=WEIGHT), bytes(99), "do not fit"),
    "unknown dtype": (
        header_with(tensors=WEIGHT.replace("F32", "F31")),
        bytes(8),
        "fit",
    ),
    "dtype of half bytes": (
        header_with(tensors=WEIGHT.replace("F32", "F4").replace("[2]", "[16]")),
        bytes(8),
        "fit|entries",
    ),
    "tensors of no elements": (
        header_with(
            tensors=',"w":{"dtype":"F32","shape":[0,1000000000000],"data_offsets":[0,0]}'
        ),
        b"",
        "entries",
    ),
    "tensor that is none": (header_with(tensors=',"w":7'), b"", "do not fit"),
    "much that is not there": (header_with(tensors="," + '"w":[],' * 9), b"", "JSON"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_forged_header_is_refused(saved, name):
    header, body, message = HEADERS[name]
    with pytest.raises(ModelFileError, match=message) as caught:
        saved.open(sealed(header, body))
    assert len(str(caught.value)) < 2000


def test_a_header_length_beyond_the_file_or_the_limit_is_refused(saved):
    for length in (
        2**63,
        2**64 - 1,
        model_file.HEADER_BYTES + 1,
        len(saved.content),
        0,
    ):
        content = length.to_bytes(8, "little") + saved.content[8:]
        assert saved.outcome(content) == "refused"
        assert saved.outcome(model_file.seal(content)) == "refused"


@pytest.mark.skipif(sys.platform == "win32", reason="files have no holes there")
def test_a_file_of_a_terabyte_on_a_disk_of_less_is_refused(saved):
    """The file is a sparse one: a hole of a terabyte after a few bytes."""
    with open(saved.path, "wb") as file:
        file.write(b"\x10" + bytes(7) + b"{}" + bytes(99))
        file.truncate(2**40)
    with pytest.raises(ModelFileError, match="not a file that detector"):
        skanogan.load(saved.path)


def forged_flips(content, n, seed=0):
    """Flip bits behind the digest, and compute the digest again."""
    for altered in random_flips(content, n, seed):
        if altered[: model_file.DIGEST.start] == content[: model_file.DIGEST.start]:
            yield model_file.seal(altered)


def assert_tidy(file, content):
    """Load a file: it is refused, or its detector scores, or says why it cannot."""
    try:
        opened = file.open(content)
    except ModelFileError:
        return "refused"
    try:
        scores = opened.score_samples(file.rows)
    except FloatingPointError:
        return "error of scoring"
    assert np.isfinite(scores).all()
    same = np.array_equal(scores, file.scores)
    return "right" if same else "other numbers"


@pytest.mark.filterwarnings("ignore::skanogan.exceptions.ModelVersionWarning")
def test_forged_flips_end_in_numbers_or_in_a_clear_error(saved, wrapped):
    for file in (saved, wrapped):
        contents = forged_flips(file.content, 40)
        outcomes = Counter(assert_tidy(file, content) for content in contents)
        assert outcomes["refused"] > 8


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::skanogan.exceptions.ModelVersionWarning")
@pytest.mark.filterwarnings("ignore::skanogan.exceptions.DeviceFallbackWarning")
def test_long_forged_flips_end_in_numbers_or_in_a_clear_error(tmp_path_factory):
    for title, file in every_kind(tmp_path_factory):
        outcomes = Counter(
            assert_tidy(file, content) for content in forged_flips(file.content, 2000)
        )
        print(f"{title}, flips with a digest computed for them: {dict(outcomes)}")
        assert outcomes["refused"] > 200
