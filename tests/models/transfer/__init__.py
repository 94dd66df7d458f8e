"""Tests of localllm/models/transfer."""
