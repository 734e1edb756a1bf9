"""Tests with other people's servers, and what other tests need of their clients."""
