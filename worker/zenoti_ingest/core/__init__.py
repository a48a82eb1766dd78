"""Decisions: pure and synchronous. No await, clock, random, environment, log, socket: now and attempt are arguments."""
