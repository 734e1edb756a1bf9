"""Tests of the upload targets."""
