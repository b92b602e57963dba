"""Judging: suites of prompts, similarity to the subject and to the prompt, intervals, and the report."""
