"""Merklfiles without Python: bash tasks and targets declared in YAML."""
