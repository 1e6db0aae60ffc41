"""Stages: load rows, call one function of the science, store rows."""
