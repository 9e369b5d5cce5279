"""Preference data: read, checked, counted, split by prompt, and packed into batches. Blind to models."""
