"""Driving a viewer from a script, and sessions that are saved and opened again."""
