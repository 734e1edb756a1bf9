"""What becomes of uploads: received, verified, signed for; without HTTP, files or SQL."""
