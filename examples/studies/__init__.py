"""The studies behind the tables in docs/: ``python examples/studies NAME``."""
