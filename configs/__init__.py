"""Configurations: one YAML file per command, one folder per component that can be chosen."""
