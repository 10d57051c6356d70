"""Venues: whatever has the shape of ExchangePort and fills orders."""
