"""From token ids to text on any runner: batching, slots, sampling, stops."""
