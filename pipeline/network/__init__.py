"""Servers on the network: whether they answer at all."""
