"""Detectors and trainings in files: written in one step, opened without trust.

`detectors` is `detector.save` and `skanogan.load`; `checkpoint` a training under way.
Both are `model_file`s: a `description` of JSON `values`, and tensors.
"""
