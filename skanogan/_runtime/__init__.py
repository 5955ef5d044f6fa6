"""Devices, threads, processes, versions: the machine and the libraries below."""
