"""Pure decisions: no clock, no I/O, no logging; every refusal is a value with a reason."""
