"""Files that are damaged, forged or something else: refused, or right, never wrong.

The long versions, by ``make test-long``, print how many of each kind there were.
"""

import json
import os
import pickle
import sys
from collections import Counter

import numpy as np
import pytest
import safetensors.torch
import torch

import skanogan
from skanogan._persistence import model_file
from skanogan.exceptions import ModelFileError
from skanogan.utils.discovery import all_detectors

CHEAP = {
    "max_iter": 4,
    "encoder_max_iter": 3,
    "n_candidates": 32,
    "hidden_layer_sizes": (8, 8),
    "n_filters": 2,
    "discriminator_filters": 2,
    "classifier_filters": 2,
    "latent_dim": 3,
    "device": "cpu",
    "random_state": 0,
}

X = np.random.RandomState(0).normal(size=(40, 5))


class Saved:
    """A fitted detector's file, its content taken apart, and the scores that count."""

    def __init__(self, detector_class, folder, rows=X, **parameters):
        names = detector_class().get_params()
        wanted = {k: v for k, v in {**CHEAP, **parameters}.items() if k in names}
        detector = detector_class(**wanted).fit(rows)
        self.path = folder / "detector"
        detector.save(self.path)
        self.content = self.path.read_bytes()
        self.rows = rows
        self.scores = detector.score_samples(rows)

    @property
    def parts(self):
        """The description and the tensors, to be altered."""
        return model_file.unpack(self.content)

    def open(self, content):
        """What `load` makes of other content in the place of the file's."""
        self.path.write_bytes(content)
        return skanogan.load(self.path)

    def outcome(self, content):
        """refused, right or wrong; anything else than these is an error."""
        try:
            opened = self.open(content)
        except ModelFileError:
            return "refused"
        same = np.array_equal(opened.score_samples(self.rows), self.scores)
        return "right" if same else "wrong"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A table's AnoGAN."""
    return Saved(skanogan.AnoGANDetector, tmp_path_factory.mktemp("saved"))


@pytest.fixture(scope="module")
def another(tmp_path_factory):
    """The same detector of rows in other units: every size is equal."""
    folder = tmp_path_factory.mktemp("another")
    return Saved(skanogan.AnoGANDetector, folder, 2 * X)


def every_kind(folder_factory):
    """A file of each detector, of a table and of images."""
    images = np.random.RandomState(0).uniform(size=(30, 9, 8))
    for name, detector_class in all_detectors():
        for kind, rows in (("table", X), ("images", images)):
            folder = folder_factory.mktemp(name)
            yield f"{name}, {kind}", Saved(detector_class, folder, rows)


def header_of(content):
    length = int.from_bytes(content[:8], "little")
    return content[: 8 + length], content[8 + length :]


def flipped(content, at, bit):
    altered = bytearray(content)
    altered[at] ^= 1 << bit
    return bytes(altered)


def random_flips(content, n, seed=0):
    """Half of them in the header, which is the smaller part."""
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


def test_a_file_that_was_cut_is_refused(saved):
    outcomes = Counter(
        map(saved.outcome, truncations(saved.content, range(0, 100, 10)))
    )
    assert outcomes == {"refused": 10}


def test_a_file_that_lacks_or_has_one_byte_more_is_refused(saved):
    for content in (saved.content[:-1], saved.content[1:], saved.content + b"\0"):
        assert saved.outcome(content) == "refused"


def test_a_flipped_bit_anywhere_is_refused(saved):
    outcomes = Counter(map(saved.outcome, random_flips(saved.content, 100)))
    assert outcomes == {"refused": 100}


def test_each_bit_of_the_first_bytes_counts(saved):
    contents = (flipped(saved.content, at, bit) for at in range(130) for bit in (0, 5))
    assert Counter(map(saved.outcome, contents)) == {"refused": 260}


def test_the_header_of_one_file_on_the_body_of_another_is_refused(saved, another):
    (head, body), (other_head, other_body) = map(
        header_of, (saved.content, another.content)
    )
    assert len(body) == len(other_body)
    for content in (head + other_body, other_head + body):
        with pytest.raises(ModelFileError, match=r"not what was written.*undamaged"):
            saved.open(content)


def test_zeros_in_the_place_of_a_block_are_refused(saved):
    content = bytearray(saved.content)
    content[-4096:-2048] = bytes(2048)
    assert saved.outcome(bytes(content)) == "refused"


@pytest.mark.long
def test_long_damage_is_refused_or_harmless(tmp_path_factory):
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


# Other things -----------------------------------------------------------------


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
def test_what_is_another_thing_is_told_what_to_do(saved, content):
    with pytest.raises(ModelFileError, match=r"detector\.save writes.*joblib\.load"):
        saved.open(content)


def test_a_torch_archive_is_not_opened(saved):
    torch.save({"weight": torch.ones(3)}, saved.path)
    with pytest.raises(ModelFileError, match=r"detector\.save writes"):
        skanogan.load(saved.path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_or_a_device_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(ModelFileError, match="no regular file"):
            skanogan.load(path)


# Forgery: the digest belongs to the content -----------------------------------


def forged(saved, change):
    """A file whose description and tensors were altered, and sealed again."""
    description, tensors = saved.parts
    change(description, tensors)
    return model_file.pack(description, tensors)


def sealed(header, body):
    """A file with a header of any bytes, and the digest that belongs to it."""
    start = model_file.START + model_file.NO_DIGEST
    content = len(start + header).to_bytes(8, "little") + start + header + body
    return model_file.seal(content)


def parameter(**values):
    return lambda description, _: description["parameters"].update(values)


def attribute(**values):
    return lambda description, _: description["attributes"].update(values)


def entry(**values):
    return lambda description, _: description.update(values)


def tensor(**values):
    def change(_, tensors):
        for name, make in values.items():
            tensors[name.replace("__", ".")] = make(tensors)

    return change


def without(where, name):
    def change(description, tensors):
        (tensors if where == "tensors" else description[where]).pop(name)

    return change


def sides(*shape):
    return {"tuple": list(shape)}


HUGE = 10**12

FORGED = {
    "unknown class": (entry(detector="Detector"), "'Detector' is not a detector"),
    "function of the package": (entry(detector="load"), "'load' is not a detector"),
    "class elsewhere": (entry(detector="os.system"), "not a detector"),
    "base class": (entry(detector="BaseDetector"), "not a detector"),
    "newer format": (entry(format=2), "format 2.*update"),
    "format that is none": (entry(format=True), "'format'"),
    "unknown entry": (entry(code="print()"), "'code'"),
    "missing entry": (lambda description, _: description.pop("parts"), "'parts'"),
    "dtype of no score": (entry(dtype="int8"), "int8"),
    "unknown parameter": (parameter(hook="print"), r"\['hook'\]"),
    "missing parameter": (without("parameters", "n_steps"), r"\['n_steps'\]"),
    "parameter that is not valid": (parameter(n_steps=-1), "n_steps"),
    "parameter of another type": (parameter(prior=[1]), "prior"),
    "parameters at odds": (
        parameter(start="encoder", n_restarts=2),
        "the encoder gives one latent",
    ),
    "value that is none": (parameter(device={"eval": "1"}), "eval"),
    "device that is none": (parameter(device={"device": "\0"}), "not a device"),
    "network that was not there": (parameter(generator={"network": "x"}), "load.path"),
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
        "Shapes",
    ),
    "image of no size": (attribute(image_shape_=sides(0, 5, 1)), "Shapes"),
    "missing tensor": (without("tensors", "generator.0.weight"), "generator.0.weight"),
    "missing candidates": (without("tensors", "latents"), "latents"),
    "missing half of a metric": (without("tensors", "metric.gain"), "gain"),
    "tensor too many": (tensor(extra=lambda t: torch.ones(1, dtype=int)), ""),
    "tensor in a network": (tensor(generator__0__more=lambda t: t["latents"]), "place"),
    "method as a tensor": (tensor(score=lambda t: t["latents"]), "'score'"),
    "table of submodules": (tensor(_modules=lambda t: t["latents"]), "'_modules'"),
    "weights of another shape": (
        tensor(generator__0__weight=lambda t: t["generator.0.weight"].T),
        r"\(3, 8\) float64, not \(8, 3\) float64",
    ),
    "weights of another dtype": (
        tensor(generator__0__weight=lambda t: t["generator.0.weight"].float()),
        "float32, not .* float64",
    ),
    "integers for weights": (
        tensor(generator__0__weight=lambda t: t["generator.0.weight"].long()),
        "int64, not .* float64",
    ),
    "candidates of another dtype": (
        tensor(latents=lambda t: t["latents"].half()),
        "all",
    ),
    "candidates of another shape": (
        tensor(latents=lambda t: t["latents"][:, :2]),
        "mat",
    ),
    "fewer coordinates": (tensor(coordinates=lambda t: t["coordinates"][:, 1:]), None),
    "a metric of other features": (
        tensor(metric__basis=lambda t: torch.ones(3, 3)),
        None,
    ),
    "part of a class that is none": (entry(parts={"metric": "Linear"}), "Linear"),
    "part of a class of Python": (entry(parts={"metric": "os.system"}), "os.system"),
    "network as a part": (entry(parts={"metric": "AnoGAN"}), "AnoGAN"),
    "part within a network": (
        entry(parts={"metric": "WhitenedMetric", "generator.x": "ModuleList"}),
        "generator.x",
    ),
    "part in the place of a network": (
        entry(parts={"metric": "WhitenedMetric", "generator": "ModuleList"}),
        "'generator'",
    ),
    "no floats of a pass": (entry(numbers={}), "floats_per_row"),
    "floats below none": (
        entry(numbers={"_floats_of_a_pass": -99}),
        "row",
    ),
    "half a float of a pass": (entry(numbers={"_floats_of_a_pass": 0.5}), "row"),
    "number as a method": (
        entry(numbers={"_floats_of_a_pass": 9, "score": 1}),
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
def test_memory_that_is_taken_below_an_earlier_peak_is_seen(memory_below):
    def take(n_bytes):
        np.ones(n_bytes, dtype=np.uint8)

    take(2**29)
    # What a long process gives back meanwhile is less than that.
    with pytest.raises(AssertionError), memory_below(2**25):
        take(2**28)


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_description_is_refused_and_costs_no_memory(saved, name, memory_below):
    change, message = FORGED[name]
    content = forged(saved, change)
    if name == "tensor too many":
        # A buffer that nothing reads: scores are those of the rest
        assert saved.outcome(content) == "right"
        return
    with memory_below(500 * 2**20), pytest.raises(ModelFileError, match=message):
        saved.open(content)


def test_settings_of_a_search_do_not_make_opening_slow(saved):
    endless = dict.fromkeys(("n_steps", "n_restarts", "n_candidates"), 10**12)
    for start in ("random", "nearest"):
        opened = saved.open(forged(saved, parameter(start=start, **endless)))
        assert opened.model_.search.n_steps == 10**12


def test_whatever_a_forger_says_nothing_is_executed_or_written(saved):
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

    open_all()  # torch imports some of itself when it first needs it
    before = {path.name for path in saved.path.parent.iterdir()}
    sys.addaudithook(watch)
    try:
        open_all()
    finally:
        watching = False
    assert seen == []
    assert {path.name for path in saved.path.parent.iterdir()} == before


# Headers that are none --------------------------------------------------------


def header_with(description='{"a":1}', tensors="", tail=""):
    """What follows the digest: the rest of the description, and the tensors."""
    rest = json.dumps(description[1:])[1:-1]
    return f'\\",{rest}"}}{tensors}}}{tail}'.encode()


def test_the_frame_of_these_headers_is_that_of_a_file(saved):
    header, body = header_of(saved.content)
    rest = header[8 + len(model_file.START) + 64 :]
    assert sealed(rest, body) == saved.content


WEIGHT = ',"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'

HEADERS = {
    "no JSON": (b'\\"', b"", "no readable JSON"),
    "depth": (header_with("{" + '"a":' + "[" * 10**6), b"", "no readable JSON"),
    "depth outside": (header_with(tensors=',"a":' + "[" * 10**6), b"", "JSON"),
    "NaN": (header_with('{"a":NaN}'), b"", "NaN is no number"),
    "infinity": (header_with('{"a":-Infinity}'), b"", "Infinity is no number"),
    "beyond infinity": (header_with('{"a":1e999}'), b"", "1e999 is not finite"),
    "integer of a million digits": (
        header_with('{"a":' + "9" * 10**6 + "}"),
        b"",
        "beyond 64 bits",
    ),
    "key twice": (header_with('{"a":1,"a":2}'), b"", "'a' is there twice"),
    "tensor twice": (header_with(tensors=WEIGHT * 2), bytes(8), "'w' is there twice"),
    "metadata twice": (
        header_with(tensors=',"__metadata__":{"skanogan":"{}"}'),
        b"",
        "'__metadata__' is there twice",
    ),
    "other metadata": (header_with()[:-2] + b',"x":"y"}}', b"", "other entries"),
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


def test_a_length_beyond_the_file_or_all_bounds_is_refused(saved):
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
    """A hole of a terabyte after a header of a kilobyte: a bomb without a zip."""
    with open(saved.path, "wb") as file:
        file.write(b"\x10" + bytes(7) + b"{}" + bytes(99))
        file.truncate(2**40)
    with pytest.raises(ModelFileError, match="does not begin"):
        skanogan.load(saved.path)


def forged_flips(content, n, seed=0):
    """Flips behind the digest, which is made to belong to them."""
    for altered in random_flips(content, n, seed):
        if altered[: model_file.DIGEST.start] == content[: model_file.DIGEST.start]:
            yield model_file.seal(altered)


def assert_tidy(file, content):
    """Refused, or a detector of other numbers that scores or says why it cannot."""
    try:
        opened = file.open(content)
    except ModelFileError:
        return "refused"
    try:
        scores = opened.score_samples(file.rows)
    except FloatingPointError:
        return "told at scoring"
    assert np.isfinite(scores).all()
    same = np.array_equal(scores, file.scores)
    return "right" if same else "other numbers"


def test_forged_flips_end_in_numbers_or_in_a_clear_error(saved):
    outcomes = Counter(assert_tidy(saved, c) for c in forged_flips(saved.content, 100))
    assert outcomes["refused"] > 20


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::skanogan.exceptions.ModelVersionWarning")
@pytest.mark.filterwarnings("ignore::skanogan.exceptions.DeviceFallbackWarning")
def test_long_forged_flips_end_in_numbers_or_in_a_clear_error(tmp_path_factory):
    for title, file in every_kind(tmp_path_factory):
        outcomes = Counter(
            assert_tidy(file, content) for content in forged_flips(file.content, 2000)
        )
        print(f"{title}, flips with a digest made for them: {dict(outcomes)}")
        assert outcomes["refused"] > 200
