"""Tests of dycoke_cli.video."""
