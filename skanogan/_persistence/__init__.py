"""Detectors in files: written in one step, loaded without trust.

`saving` and `loading` go through detectors and the detectors within them. `description`
holds the entries and limits of a file, `values` parameters and attributes as JSON,
`model_tensors` and `parts` the model, `model_file` the container, `files` the writing,
and `registry` the classes that `load` knows.
"""
