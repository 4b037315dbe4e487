"""Plots of plain arrays by matplotlib."""
