"""Figures of Samtala beside the limits of the machine they were taken on. Nothing here asserts on time."""
